"""A websocket entrypoint, whose loop waits while a sync chainlet works."""

import truss_chains as chains

OPTIONS = chains.ChainletOptions()


class Glass(chains.ChainletBase):
    remote_config = chains.RemoteConfig(options=OPTIONS)

    def run_remote(self, text: str) -> str:
        return text[::-1]


@chains.mark_entrypoint("the mirror")
class Mirror(chains.ChainletBase):
    remote_config = chains.RemoteConfig(options=OPTIONS)

    def __init__(self, glass: Glass = chains.depends(Glass, timeout_sec=10)) -> None:
        self._glass = glass

    async def run_remote(self, websocket: chains.WebSocketProtocol) -> None:
        while (text := await websocket.receive_text()) != "bye":
            if text == "break":
                raise ValueError("broken")
            await websocket.send_text(self._glass.run_remote(text))
