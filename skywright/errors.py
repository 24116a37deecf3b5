"""The one error that is shown to users without a traceback."""


class UserError(Exception):
    """Bad input: the message says what is wrong, where (file, record, field), and what to do.

    The command line prints the message alone and exits with status 1.
    """
