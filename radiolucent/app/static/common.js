// What the viewers share: addresses below the page's own, messages of the server, pictures, and what is forgotten.
const radiolucent = (() => {
  const root = () => {
    const known = window.gradio_config?.root;
    return (known ? new URL(known, document.baseURI).pathname : "/").replace(/\/$/, "") + "/radiolucent/";
  };
  const url = (path) => root() + path;
  const socket = (path) => `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${url(path)}`;

  // four bytes of length, a header as JSON, the rest
  const open = (buffer) => {
    const length = new DataView(buffer).getUint32(0, true);
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
    return {header, body: buffer.slice(4 + length)};
  };

  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };

  let count = 0;
  // a labelled slider with its value beside it
  const slider = (text, min, max, step, value, onInput, shown = (number) => number.toFixed(2)) => {
    const id = `rl-${++count}`;
    const input = make("input", {type: "range", id, min, max, step});
    input.value = value;
    const output = make("output", {htmlFor: id, textContent: shown(Number(value))});
    const set = (number) => { input.value = number; output.textContent = shown(Number(input.value)); };
    input.addEventListener("input", () => { output.textContent = shown(Number(input.value)); onInput(Number(input.value)); });
    const row = make("div", {className: "rl-slider"}, make("label", {htmlFor: id, textContent: text}), output, input);
    return {row, input, set, get value() { return Number(input.value); }};
  };

  const choice = (text, options, onChange) => {
    const id = `rl-${++count}`;
    const select = make("select", {id}, ...options.map(([value, said]) => make("option", {value, textContent: said})));
    select.addEventListener("change", () => onChange(select.value));
    return {row: make("div", {className: "rl-choice"}, make("label", {htmlFor: id, textContent: text}), select), select};
  };

  const held = new Set();
  const forget = (token) => { held.delete(token); navigator.sendBeacon(url("forget"), token); };
  window.addEventListener("pagehide", () => held.forEach(forget));
  return {url, socket, open, make, slider, choice, hold: (token) => held.add(token)};
})();

// An element that builds itself when it gets its place, and anew when gradio changes what it is about.
class RadiolucentElement extends HTMLElement {
  static observedAttributes = ["data-token", "data-ct", "data-path"];
  connectedCallback() { this.renew(); }
  disconnectedCallback() { this.stop?.(); this.built = false; }
  attributeChangedCallback() { if (this.built) this.renew(); }
  renew() {
    this.stop?.();
    this.replaceChildren();
    this.built = true;
    this.build();
  }
}

customElements.define("rl-picture", class extends RadiolucentElement {
  build() {
    const {make, url, hold} = radiolucent;
    const {path, about, name, caption} = this.dataset;
    hold(path.split("/")[1]);
    const picture = make("img", {src: url(path), alt: about});
    this.append(picture);
    if (name) this.append(make("a", {href: url(path), download: name, textContent: `${caption}: save`}));
  }
});

customElements.define("rl-report", class extends RadiolucentElement {
  build() {
    const {make, url, hold} = radiolucent;
    const base = `report/${this.dataset.token}/`;
    hold(this.dataset.token);
    const links = [["report.html", "The report"], ["images.html", "Every image under a slider"]];
    const frame = make("iframe", {title: "Suppression report", src: url(base + links[0][0])});
    frame.setAttribute("sandbox", "allow-scripts allow-downloads");
    const bar = make("p", {className: "rl-bar"});
    for (const [file, text] of links) {
      const button = make("button", {type: "button", className: "rl-button", textContent: text});
      button.addEventListener("click", () => { frame.src = url(base + file); });
      bar.append(button);
    }
    for (const file of ["report.json", "scores.csv", "gains.csv"])
      bar.append(make("a", {href: url(base + file), download: file, textContent: file}));
    this.append(bar, frame);
  }
});
