"""Around a training run: how its detector is made ready, which pictures and weights it leaves."""
