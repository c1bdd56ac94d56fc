"""What the training scripts share: arguments, the loop, checkpoints, averaged weights, logs, publishing."""
