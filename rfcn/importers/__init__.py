"""Weights of other programs, read without those programs and turned into weights of this one."""
