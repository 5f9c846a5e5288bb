"""Pictures and their boxes: reading, resizing, batching."""
