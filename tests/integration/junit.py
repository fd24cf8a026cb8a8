"""A JUnit document as its readers see it: held to the schema in ``tests/cases/junit``, then asked how a case came out."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

__all__ = ["Cases", "read_junit"]

_SCHEMA = Path(__file__).parents[1] / "cases" / "junit" / "junit.xsd"


class Cases(dict[str, str]):
    """Case -> ``pass``, ``failure``, ``error`` or ``skipped``."""

    def __init__(self, root: ET.Element) -> None:
        self.messages: dict[str, str] = {}
        for case in root.iter("testcase"):
            self[case.attrib["name"]] = case[0].tag if len(case) else "pass"
            self.messages[case.attrib["name"]] = case[0].attrib["message"] if len(case) else ""
        self.properties = {one.attrib["name"]: one.attrib["value"] for one in root.iter("property")}
        (suite,) = root
        assert int(suite.attrib["tests"]) == len(self), "two cases of one name"
        for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert int(suite.attrib[attribute]) == sum(value == tag for value in self.values())


@lru_cache
def _schema() -> Any:
    xmlschema = pytest.importorskip("xmlschema", reason="xmlschema, of the dev dependencies, holds a JUnit document to its schema")
    return xmlschema.XMLSchema(str(_SCHEMA))


def read_junit(data: bytes) -> Cases:
    """Read a document, which the schema must allow."""
    _schema().validate(data.decode())
    return Cases(ET.fromstring(data))
