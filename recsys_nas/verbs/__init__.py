"""The verbs of `recsys-nas`, one file a group. Nothing heavy is imported before a verb runs: `--help` must be instant."""
