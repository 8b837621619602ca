"""The program: `jailkit`, and `python -m jailkit`."""

import gc
import signal


def main() -> None:
    """Run the command line; never returns."""
    # Until it can say so in a line of its own, Ctrl-C ends the program without a word and without a traceback.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    # A command lives for a moment and makes few cycles: looking for them as often as Python does by default is a
    # tenth of what `jailkit create` costs.
    gc.set_threshold(100_000)
    from jailkit.cli import main as command_line

    command_line()


if __name__ == "__main__":
    main()
