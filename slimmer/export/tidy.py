"""An ONNX file without what the exporter tells of the machine and the run that wrote it."""

import onnx


def name_batch_(graph: onnx.GraphProto, batch: str) -> None:
    """Call the batch dimension `batch` throughout, where torch.export calls it `s77` or the like."""
    symbol = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in (*graph.input, *graph.output, *graph.value_info):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param and symbol in size.dim_param:
                size.dim_param = size.dim_param.replace(symbol, batch)


def forget_source_(file: onnx.ModelProto) -> None:
    """Drop stack traces and the traced program's text: paths of this machine, most of a small file."""
    graph = file.graph
    functions = [node for function in file.functions for node in function.node]
    for part in (graph, *graph.node, *graph.initializer, *graph.value_info, *functions, *file.functions):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    for value in (*graph.input, *graph.output):
        value.ClearField("metadata_props")
