// Talks to the server. The visitor's token goes in a header, and survives a reload of the page.

let token = sessionStorage.getItem("d2f-token") ?? "new";

export class Refused extends Error {
  constructor(message, status) { super(message); this.status = status; }
}

async function call(method, path, { query = {}, body, json } = {}) {
  const search = new URLSearchParams(query).toString();
  let answer;
  try {
    answer = await fetch(search ? `${path}?${search}` : path, {
      method,
      headers: { "X-Session": token, ...(json === undefined ? {} : { "Content-Type": "application/json" }) },
      body: json === undefined ? body : JSON.stringify(json),
    });
  } catch {
    throw new Refused("The server does not answer. Is d2f app still running?", 0);
  }
  if (!answer.ok) {
    const said = await answer.json().catch(() => ({}));
    throw new Refused(said.error ?? `The server refused it (${answer.status}).`, answer.status);
  }
  return answer;
}

const told = async (...words) => (await call(...words)).json();

export async function enter() {
  const known = await told("POST", "/session");
  token = known.token;
  sessionStorage.setItem("d2f-token", token);
  return known;
}

export const alive = () => told("POST", "/alive");
export const leave = () => navigator.sendBeacon("/leave", token);
export const open = (file) => told("PUT", "/photo", { query: { name: file.name }, body: file });
export const example = (name) => told("POST", "/example", { query: { name } });
export const put = (kind, file) => told("PUT", "/file", { query: { kind, name: file.name }, body: file });
export const paint = (strokes) => told("POST", "/strokes", { json: strokes });
export const develop = (form) => told("POST", "/develop", { json: form });
export const begin = (form) => told("POST", "/full", { json: form });
export const progress = () => told("GET", "/full");
export const stop = () => told("DELETE", "/full");

export async function save(name, form) {
  const answer = form === undefined
    ? await call("GET", "/result")
    : await call("POST", "/made", { query: { name }, json: form });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await answer.blob());
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
