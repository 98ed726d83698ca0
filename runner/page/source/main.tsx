import { render } from "preact";
import "./look.css";
import "./page.css";
import { enter, follow } from "./door";
import { recall } from "./settings";
import { App } from "./views/app";

const place = document.getElementById("page");
if (!place) throw new Error("The document has no place for the page.");
recall();
place.replaceChildren();
render(<App />, place);
void enter();
addEventListener("hashchange", () => void follow(location.hash));
