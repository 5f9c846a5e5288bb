"""Wrong data found before training: what `rfcn check-data` computes and writes."""
