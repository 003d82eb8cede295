"""The JSON files of benchmarks/accuracy.py as one Markdown table.

python benchmarks/table.py benchmarks/results > benchmarks/results/accuracy.md
"""

import json
from pathlib import Path

import click


@click.command(help=__doc__)
@click.argument("folder", type=Path)
def main(folder: Path) -> None:
    rows = [json.loads(path.read_text()) for path in sorted(folder.glob("*-seed*.json"))]
    print("# Accuracy at half the FLOPs, CIFAR-10\n")
    print("Top-1 of the ONNX file on all 10,000 test images, by ONNX Runtime. FLOPs as fvcore counts them.\n")
    heads = (
        "net | method | distillation | epochs (images) | seed | FLOPs | params | dense | after removal | slim | drop"
    )
    print(f"| {heads} |\n|{'---|' * 11}")
    for row in sorted(rows, key=lambda row: (row["net"], -row["accuracy_onnxruntime"])):
        dense, slim = row["accuracy_dense"], row["accuracy_onnxruntime"]
        print(
            f"| {row['net']} | {row['method']} | {row['distill']:g} | {row['epochs']:g} ({row['images']:,}) "
            f"| {row['seed']} | {row['flops_ratio']:.2%} | {row['params_ratio']:.2%} | {dense:.2%} "
            f"| {row['accuracy_removed']:.2%} | {slim:.2%} | {(dense - slim) * 100:.2f} points |"
        )
    print("\nEach row's file holds its command, date, versions, hardware and whole recipe.")


if __name__ == "__main__":
    main()
