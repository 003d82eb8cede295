"""Channel pruning of pretrained convnets, exactly inside a budget."""
