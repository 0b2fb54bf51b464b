"""Answers each WebSocket message with itself; `close N` closes with that code, `raise` fails."""


class Model:
    """A WebSocket model."""

    async def websocket(self, websocket):
        while True:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            if text and text.startswith("close "):
                await websocket.close(int(text.split()[1]))
                return
            if text == "raise":
                raise ValueError("as ordered")
            if text is not None:
                await websocket.send_text(text)
            else:
                await websocket.send_bytes(message["bytes"])
