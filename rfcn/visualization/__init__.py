"""What the detector sees and finds, as pictures: boxes, score maps, loss curves. Floor 3."""
