"""The operators in plain PyTorch: what runs without a compiler, and what exports."""
