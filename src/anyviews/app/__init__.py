"""The app in the browser: one tab per method, made of the methods of `anyviews run`, by gradio (the extra app)."""

from .server import serve


__all__ = ["serve"]
