"""The heart of edgekit: from a float ONNX model and real samples to a ``QuantPlan``.

::

    normalise   model -> Graph, one plain form      (rewrite: its exact rewrites, one file per kind)
    calibrate   Graph + samples -> QuantPlan        (observe -> histogram -> ranges; weights)

The pipeline calls ``normalise`` and ``calibrate``; the rest is theirs. Knows no runtime.
"""
