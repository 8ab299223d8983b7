"""The Model Context Protocol: Easel's commands as tools of chat programs, at `/mcp` and as `easel mcp`.

`mcp_mount` answers at `/mcp`; it imports the library, and with it all other modules here, when it is first called.
`easel mcp` serves the same tools over stdin and stdout, by means of `tool_server`.
"""
