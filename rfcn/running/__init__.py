"""What a training run leaves and says: its pictures, its weights, its words."""
