"""From 3D to images and back to surfaces: rendering, fusion, photometric refinement."""
