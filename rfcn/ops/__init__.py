"""The operators: one file each, compiled where `csrc/` was built and plain PyTorch elsewhere.

Import from the module: `from rfcn.ops.psroi_pool import psroi_pool`.
"""
