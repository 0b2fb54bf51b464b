"""Answers each WebSocket message with itself, but for a few that are orders; keeps how clients left."""


class Model:
    """A WebSocket model."""

    def __init__(self, **_):
        self.left = []

    async def websocket(self, websocket):
        while True:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                self.left.append([message.get("code"), message.get("reason")])
                return
            text = message.get("text") or ""
            order, _, rest = text.partition(" ")
            if order == "close":
                code, _, reason = rest.partition(" ")
                await websocket.close(int(code), reason)
                return
            if order == "raise":
                raise ValueError("as ordered")
            if order == "left":
                await websocket.send_json(self.left)
            elif order == "tell":
                await websocket.send_json(told(websocket))
            elif message.get("text") is not None:
                await websocket.send_text(text)
            else:
                await websocket.send_bytes(message["bytes"])


def told(websocket):
    """What the model hears of its client."""
    return {
        "url": str(websocket.url),
        "headers": websocket.headers.items(),
        "subprotocols": websocket.scope["subprotocols"],
    }
