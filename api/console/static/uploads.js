// Files for an input: sent to /v1/uploads in pieces, then the input refers to them.
"use strict";

const UPLOAD_PIECE = 4 << 20; // bytes; after a cut only this much is sent again
const MOST_NAME = 255; // characters of a file's name, the last ones

// Sends the file and gives what refers to it in an input. `told` hears of the bytes so far, and of all.
async function upload(file, told) {
  if (!file.size) throw new Error(`${file.name} is empty.`);
  const offer = JSON.stringify({ size: file.size, name: file.name.slice(-MOST_NAME) });
  let known = await call("POST", "/v1/uploads", offer);
  while (!known.stored) {
    const piece = file.slice(known.offset, known.offset + UPLOAD_PIECE);
    const headers = { "X-Kingpost-Csrf": csrf, "Upload-Offset": String(known.offset) };
    const answer = await fetch(`/ui/api/v1/uploads/${known.id}`, { method: "PATCH", headers, body: piece });
    const said = await answer.json();
    if (!answer.ok) throw new Error(said.error ?? `The upload failed with ${answer.status}.`);
    if (!said.stored && said.offset <= known.offset) throw new Error("The upload does not go on; try again.");
    known = { ...said, id: known.id };
    told(known.stored ? file.size : known.offset, file.size);
  }
  return { $ref: known.ref };
}
