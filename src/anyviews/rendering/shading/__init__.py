"""Light on surfaces: materials of glTF under an environment."""
