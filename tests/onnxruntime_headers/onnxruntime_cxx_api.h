// A stand-in for ONNX Runtime's header: the names that docs/deploy.md uses, with their signatures.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#define ORT_TSTR(text) text
enum OrtLoggingLevel { ORT_LOGGING_LEVEL_WARNING };
enum OrtAllocatorType { OrtArenaAllocator };
enum OrtMemType { OrtMemTypeDefault };

namespace Ort {
struct Env {
  Env(OrtLoggingLevel level, const char* name);
};
struct SessionOptions {
  SessionOptions& SetIntraOpNumThreads(int threads);
};
struct RunOptions {
  explicit RunOptions(std::nullptr_t);
};
struct MemoryInfo {
  static MemoryInfo CreateCpu(OrtAllocatorType allocator, OrtMemType type);
};
struct TensorTypeAndShapeInfo {
  size_t GetElementCount() const;
};
struct Value {
  template <typename T>
  static Value CreateTensor(const MemoryInfo& memory, T* data, size_t count, const int64_t* shape, size_t sides);
  template <typename T>
  const T* GetTensorData() const;
  TensorTypeAndShapeInfo GetTensorTypeAndShapeInfo() const;
};
struct Session {
  Session(const Env& env, const char* path, const SessionOptions& options);
  std::vector<Value> Run(const RunOptions& options, const char* const* inputs, const Value* values, size_t given,
                         const char* const* outputs, size_t wanted);
};
}  // namespace Ort
