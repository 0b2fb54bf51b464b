"""A websocket entrypoint."""

import truss_chains as chains


@chains.mark_entrypoint("the mirror")
class Mirror(chains.ChainletBase):
    async def run_remote(self, websocket: chains.WebSocketProtocol) -> None:
        while (text := await websocket.receive_text()) != "bye":
            if text == "break":
                raise ValueError("broken")
            await websocket.send_text(text[::-1])
