"""The options of a method as controls of a page: what `anyviews run` takes on the command line, nothing is added."""

import argparse
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import gradio as gr


# What such an option names lies where the server runs: visitors of a page have no business there.
SERVER_FOLDERS = ("FOLDER", "ASSET")
UPLOADED = "FILE"


def method_options(method: ModuleType) -> list[argparse.Action]:
    """The options of a method that a page can offer, in their order."""
    group = argparse.ArgumentParser(add_help=False).add_argument_group()
    method.add_arguments(group)
    return [action for action in group._group_actions if action.metavar not in SERVER_FOLDERS]


def control_of(option: argparse.Action) -> gr.components.Component:
    """The control of an option."""
    label = option.dest.replace("_", " ").capitalize()
    if option.metavar == UPLOADED:
        return gr.File(label=f"{label}: {option.help}", file_count="single")
    shared = {"label": label, "info": option.help, "value": option.default}
    if option.nargs == 0:
        return gr.Checkbox(**shared)
    if option.choices is not None:
        return gr.Dropdown(list(option.choices), **shared)
    # a field of numbers cannot be empty: it would show 0
    if option.type in (int, float) and option.default is not None:
        return gr.Number(precision=0 if option.type is int else None, **shared)
    return gr.Textbox(placeholder=option.metavar, **shared)


def command_line(values: Mapping[str, Any], options: list[argparse.Action]) -> list[str]:
    """The words of the command line that say what the controls say.

    Args:
        values: of the controls, by the `dest` of their options.
        options: of the method.
    """
    words = []
    for option in options:
        value, flag = values.get(option.dest), option.option_strings[-1]
        if value is None or value is False or value == "" or value == option.default:
            continue
        # after =, a value is never taken for another option
        words.append(flag if value is True else f"{flag}={value}")
    return words
