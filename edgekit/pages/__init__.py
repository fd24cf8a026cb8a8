"""Saved reports as pages for people: one HTML file, Markdown for a pull request, a picture of the raw series.

``saved`` reads what is to be shown, ``contents`` puts it in order as plain sections, tables and charts; ``html``, ``markdown``
and ``plot`` only write those down. The command line calls them. Jinja2 and matplotlib come with the extra ``report`` and are
imported when a page or a picture is made.
"""
