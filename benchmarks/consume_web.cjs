// Files run by onnxruntime-web in node, in WebAssembly: called by consumers.py.
//
//     node consume_web.cjs WHERE_IT_IS_INSTALLED FOLDER
//
// Reads and writes what consume.py does.
const fs = require("fs");
const path = require("path");
const [where, folder] = process.argv.slice(2);
const modules = path.join(path.resolve(where), "node_modules");
const ort = require(path.join(modules, "onnxruntime-web"));
const { version } = JSON.parse(fs.readFileSync(path.join(modules, "onnxruntime-web", "package.json")));

async function run(job) {
  const session = await ort.InferenceSession.create(fs.readFileSync(path.join(folder, job.file)));
  const bytes = fs.readFileSync(path.join(folder, job.images));
  const Numbers = job.type === "float16" ? Uint16Array : Float32Array;
  const values = new Numbers(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
  const found = await session.run({ input: new ort.Tensor(job.type, values, job.shape) });
  const { data } = found[session.outputNames[0]];
  fs.writeFileSync(path.join(folder, job.answer), Buffer.from(data.buffer, data.byteOffset, data.byteLength));
}

async function main() {
  ort.env.wasm.numThreads = 1;
  console.log(JSON.stringify({ version, node: process.version }));
  for (const job of JSON.parse(fs.readFileSync(path.join(folder, "jobs.json")))) {
    const said = { name: job.name };
    try {
      await run(job);
    } catch (error) {
      said.error = String(error.message || error);
    }
    console.log(JSON.stringify(said));
  }
}

main();
