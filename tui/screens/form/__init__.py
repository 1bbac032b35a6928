"""The one form: a page of fields of whatever noun, filled in already."""

from tui.screens.form.screen import FormScreen

__all__ = ["FormScreen"]
