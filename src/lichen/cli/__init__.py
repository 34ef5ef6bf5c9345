"""The command line, one file per subcommand.

Nothing else in lichen prints, or reads the environment.
"""
