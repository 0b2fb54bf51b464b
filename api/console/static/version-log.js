// The page of a version's log lines.
"use strict";

function streams() {
  whileSeen(pulse);
  const list = $("[data-log]");
  if (!list) return;
  whileSeen(() => followLog(list));
  $("#no-requests").addEventListener("change", (event) => list.classList.toggle("no-requests", event.target.checked));
}
