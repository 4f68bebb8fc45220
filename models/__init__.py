"""Pure PyTorch: tensors in, tensors out. No Ray, no MLflow, no files, no configuration library."""
