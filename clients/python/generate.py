#!/usr/bin/env python3
"""Makes src/postern_client/api.py from docs/openapi.json: `generate.py`, or `generate.py --check`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[1] / "docs" / "openapi.json"
OUTPUT = HERE / "src" / "postern_client" / "api.py"
TAGS = ("API keys", "Agents", "Services", "Runners", "Users", "Organizations", "CLI tokens", "Tokens", "Events")
#: Parts of the protocol, which sessions and verifiers speak, and routes with a credential of their own
EXCLUDED = {
    "acceptInvitation",
    "downloadScriptThatInstallsRunner",
    "getTokenOfService",
    "getTokens",
    "logInWithPassword",
    "logOut",
    "preflightForTokenEndpoint",
    "refreshTokens",
    "registerClient",
    "reportThatRunnerIsThere",
    "revokeLeakedCredential",
    "revokeLeakedCredentialsThatGithubFound",
    "revokeToken",
    "sayWhatCredentialIs",
    "startDeviceFlow",
}
HEADER = '''"""The operations of the management API: `session.call(list_api_keys())`.

Generated from docs/openapi.json by generate.py. Do not edit.
"""

from __future__ import annotations

from typing import Any, Literal, TypedDict

from postern_client._operation import Operation
'''
SCALARS = {"string": "str", "boolean": "bool", "integer": "int", "number": "float", "null": "None"}


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


class Generator:
    """Writes the module. Types that it mentions become `TypedDict`s."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.schemas: dict[str, Any] = document["components"]["schemas"]
        self.mentioned: list[str] = []

    def resolved(self, part: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in part:
            found: Any = self.document
            for name in part["$ref"].removeprefix("#/").split("/"):
                found = found[name]
            part = found
        return part

    def type(self, schema: dict[str, Any]) -> str:
        """Returns the annotation of a schema."""
        if "$ref" in schema:
            name = schema["$ref"].rsplit("/", 1)[1]
            if "properties" not in self.schemas[name]:
                return self.type(self.schemas[name])
            if name not in self.mentioned:
                self.mentioned.append(name)
            return str(name)
        if choices := [choice.get("const") for choice in schema.get("oneOf", [])] or schema.get("enum"):
            return f"Literal[{', '.join(json.dumps(choice) for choice in choices)}]" if all(choices) else "Any"
        kinds = schema.get("type", [])
        return " | ".join(self.plain(kind, schema) for kind in ([kinds] if isinstance(kinds, str) else kinds)) or "Any"

    def plain(self, kind: str, schema: dict[str, Any]) -> str:
        if kind == "array":
            return f"list[{self.type(schema.get('items', {}))}]"
        if kind == "object":
            values = schema.get("additionalProperties")
            return f"dict[str, {self.type(values) if isinstance(values, dict) else 'Any'}]"
        return SCALARS[kind]

    def members(self, name: str) -> tuple[list[str], list[str]]:
        """Returns the members of a type: those that are always there, and the others."""
        schema = self.schemas[name]
        lines: tuple[list[str], list[str]] = ([], [])
        for member, kind in schema["properties"].items():
            lines[member not in schema.get("required", [])].append(f"    {member}: {self.type(kind)}")
        return lines

    def typed_dict(self, name: str) -> str:
        required, optional = self.members(name)
        doc = f'    """{self.schemas[name]["description"]}"""\n'
        if not optional:
            return "\n".join([f"class {name}(TypedDict):", doc, *required])
        base = [f"class _{name}(TypedDict):", *required, "", ""] if required else []
        parent = f"_{name}" if required else "TypedDict"
        return "\n".join([*base, f"class {name}({parent}, total=False):", doc, *optional])

    def function(self, method: str, path: str, operation: dict[str, Any]) -> str:
        """Returns the function of an operation. Its arguments are those of path, query and body."""
        parameters = [self.resolved(parameter) for parameter in operation.get("parameters", [])]
        segments = [parameter["name"] for parameter in parameters if parameter["in"] == "path"]
        arguments = [f"{name}: str" for name in segments]
        named, groups = [], {"query": [], "body": []}  # type: tuple[list[str], dict[str, list[str]]]
        for parameter in parameters:
            if parameter["in"] == "query":
                groups["query"].append(parameter["name"])
                named.append(f"{parameter['name']}: {self.type(parameter['schema'])} | None = None")
        has_body = "requestBody" in operation
        if has_body:
            schema = self.resolved(self.resolved(operation["requestBody"])["content"]["application/json"]["schema"])
            groups["body"] = list(schema.get("properties", {}))
            named += self.body_arguments(schema)
        if named:
            arguments += ["*", *named]
        sent = [repr(method.upper()), repr(path)]
        if segments:
            sent.append("segments=" + self.mapping(segments))
        if groups["query"]:
            sent.append("query=" + self.mapping(groups["query"]))
        if has_body:
            sent.append("body=" + self.mapping(groups["body"]))
        result, is_text = self.result(operation)
        if is_text:
            sent.append("is_text=True")
        note = operation.get("description", "")
        doc = operation["summary"].rstrip(".") + "." + (f"\n\n{textwrap.fill(note, 108)}\n" if note else "")
        return (
            f"def {snake(operation['operationId'])}({', '.join(arguments)}) -> Operation[{result}]:\n"
            f'    """{textwrap.indent(doc, "    ").strip()}{chr(10) + "    " if note else ""}"""\n'
            f"    return Operation({', '.join(sent)})"
        )

    def body_arguments(self, schema: dict[str, Any]) -> list[str]:
        """Returns the members of a body as arguments, those that are required first."""
        required = schema.get("required", [])
        arguments = []
        for name in sorted(schema.get("properties", {}), key=lambda member: member not in required):
            kind = self.type(schema["properties"][name])
            if name in required:
                arguments.append(f"{name}: {kind}")
            else:
                arguments.append(f"{name}: {kind.removesuffix(' | None')} | None = None")
        return arguments

    @staticmethod
    def mapping(names: list[str]) -> str:
        return "{" + ", ".join(f"{name!r}: {name}" for name in names) + "}"

    def result(self, operation: dict[str, Any]) -> tuple[str, bool]:
        """Returns the type of a success, and whether it is text."""
        answer = next(self.resolved(answer) for status, answer in operation["responses"].items() if status[0] == "2")
        content = answer.get("content", {})
        if "application/json" in content:
            return self.type(content["application/json"]["schema"]), False
        return ("str", True) if content else ("None", False)

    def module(self) -> str:
        functions = [
            self.function(method, path, operation)
            for path, methods in self.document["paths"].items()
            for method, operation in methods.items()
            if method not in ("head", "options")
            and path.startswith("/v1/")
            and set(operation["tags"]) & set(TAGS)
            and operation["operationId"] not in EXCLUDED
        ]
        types: dict[str, str] = {}
        while missing := [name for name in self.mentioned if name not in types]:
            for name in missing:
                types[name] = self.typed_dict(name)
        return "\n\n\n".join([HEADER, *(types[name] for name in sorted(types)), *functions]) + "\n"


def main() -> None:
    module = Generator(json.loads(DOCUMENT.read_text(encoding="utf-8"))).module()
    command = ["ruff", "format", "--quiet", "--config", str(HERE / "pyproject.toml"), "-"]
    text = subprocess.run(command, input=module, capture_output=True, text=True, check=True).stdout
    if "--check" in sys.argv:
        is_current = OUTPUT.exists() and OUTPUT.read_text(encoding="utf-8") == text
        sys.exit(
            None if is_current else "src/postern_client/api.py is not what docs/openapi.json says: run generate.py"
        )
    OUTPUT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
