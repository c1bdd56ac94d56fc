"""Pure tensor functions: rays, alignment, camera paths, depth maps."""
