"""What `--help` shows after the options: commands to copy."""


def examples(*lines: str) -> str:
    """The end of a command's help."""
    # \b: as it is written, not filled into paragraphs.
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines), "", ""])
