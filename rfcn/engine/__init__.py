"""The training loop and what it leaves on disk. Knows nn.Module, no model and no config of ours."""
