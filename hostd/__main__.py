"""The `hostd` command. Only what a subcommand needs is imported: `relay` must start in milliseconds."""

import sys


def main() -> int:
    """Run the subcommand named on the command line; the exit code."""
    if sys.argv[1:2] == ["relay"]:
        from hostd import relay

        return relay.main(sys.argv[2:])
    if sys.argv[1:] == ["--version"]:
        from hostd import __version__

        sys.stdout.write(f"hostd {__version__}\n")
        return 0
    from hostd import command

    return command.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
