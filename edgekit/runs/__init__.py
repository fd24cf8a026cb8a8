"""What one ``edgekit ci`` did, as a value and in the forms that others read. ``edgekit.pipeline.ci`` makes it, ``cli`` writes it down."""
