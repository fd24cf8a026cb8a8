"""The command line: words in, tables, JSON and exit codes out. The only floor that prints or exits.

``root`` holds the command table, ``boundary`` the one place where errors become messages, ``output``
how data is shown, and each command word has its file.
"""
