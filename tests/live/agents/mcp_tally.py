"""A tiny MCP server on stdin and stdout, for the tests: one tool, `add`, which also tells whether it has its key."""

import hashlib
import json
import os
import sys
from typing import Any

NUMBER = {"type": "integer"}
ADD = {
    "name": "add",
    "description": "Adds two whole numbers.",
    "inputSchema": {"type": "object", "properties": {"a": NUMBER, "b": NUMBER}, "required": ["a", "b"]},
}


def answer(method: str, params: dict[str, Any]) -> dict[str, Any]:
    if method == "initialize":
        server = {"name": "tally", "version": "1"}
        return {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": server}
    if method == "tools/list":
        return {"tools": [ADD]}
    if method == "tools/call":
        given, key = params["arguments"], os.environ.get("TALLY_KEY", "")
        has = hashlib.sha256(key.encode()).hexdigest() == os.environ["KEY_DIGEST"]
        text = f"The sum is {given['a'] + given['b']}, {'with' if has else 'without'} the key."
        return {"content": [{"type": "text", "text": text}]}
    return {}


if __name__ == "__main__":
    for line in sys.stdin:
        request = json.loads(line)
        if "id" in request and "method" in request:
            result = answer(request["method"], request.get("params") or {})
            print(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}), flush=True)
