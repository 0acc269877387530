// A CT that is turned by hand. Poses go out over a websocket, pictures come back; the server draws the latest pose only.
customElements.define("xray-view", class extends RadiolucentElement {
  build() {
    const {make, slider, choice} = radiolucent;
    this.ct = this.dataset.ct;
    if (this.ct !== "sample") radiolucent.hold(this.ct);
    this.number = 0;
    this.times = [];
    this.canvas = make("canvas", {width: 512, height: 512, tabIndex: 0});
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", "Radiograph of the CT. Arrow keys turn and tip it.");
    this.boxes = make("div", {className: "rl-boxes"});
    this.rate = make("span", {className: "rl-tag rl-right"});
    this.problem = make("p", {className: "rl-status rl-problem", hidden: true});
    this.problem.setAttribute("role", "alert");
    const stage = make("div", {className: "rl-stage rl-square"}, this.canvas, this.boxes, this.rate);
    const moved = () => this.ask();
    const degrees = (x) => `${Math.round(x)}°`;
    const views = this.dataset.views.split(",").map((view) => view.split(":"));
    this.view = choice("View", views, () => this.preset());
    this.yaw = slider("Turn", -180, 180, 1, 0, moved, degrees);
    this.tilt = slider("Tip", -60, 60, 1, 0, moved, degrees);
    this.bone = slider("Bone", -1, 2, 0.05, 1, moved);
    this.centre = slider("Exposure: mid-grey", 2, 8, 0.1, 4, moved);
    this.latitude = slider("Exposure: latitude", 0.5, 4, 0.1, 1.4, moved);
    const looks = [["0", "film"], ...Array.from({length: Number(this.dataset.looks)}, (_, n) => [n + 1, `digital ${n + 1}`])];
    this.look = choice("Look", looks, () => {
      for (const one of [this.centre, this.latitude]) one.input.disabled = this.look.select.value !== "0";
      this.ask();
    });
    this.size = choice("Pixels", [256, 512, 1024].map((n) => [n, `${n} x ${n}`]), moved);
    this.size.select.value = "512";
    this.report = make("p", {className: "rl-report-text"});
    const saved = ["picture", "geometry"].map((what) => {
      const link = make("a", {className: "rl-button", download: "", textContent: `Save the ${what}`});
      link.addEventListener("click", () => { link.href = this.address(what); });
      link.href = "#";
      return link;
    });
    const names = (this.dataset.findings || "").split(",").filter(Boolean);
    this.findings = make("fieldset", {}, make("legend", {textContent: "Findings put in"}));
    for (const name of names) {
      const box = make("input", {type: "checkbox", value: name});
      box.addEventListener("change", () => this.ask());
      this.findings.append(make("label", {}, box, ` ${name}`));
    }
    if (!names.length) this.findings.append("for the packaged CT: they need a label map of the organs");
    const controls = make("div", {className: "rl-controls"}, this.view.row, this.yaw.row, this.tilt.row, this.bone.row,
      this.look.row, this.centre.row, this.latitude.row, this.size.row, this.findings,
      make("p", {className: "rl-bar"}, ...saved));
    this.append(this.problem, make("div", {className: "rl-viewer"}, make("div", {}, stage, this.report), controls));
    this.listen();
    this.connect();
  }

  listen() {
    let from = null;
    this.canvas.addEventListener("pointerdown", (event) => {
      this.canvas.setPointerCapture(event.pointerId);
      from = {x: event.clientX, y: event.clientY, yaw: this.yaw.value, tilt: this.tilt.value};
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (!from || event.buttons !== 1) return;
      const scale = 180 / this.canvas.getBoundingClientRect().width;
      this.turn(from.yaw + (event.clientX - from.x) * scale, from.tilt + (event.clientY - from.y) * scale);
    });
    for (const end of ["pointerup", "pointercancel"]) this.canvas.addEventListener(end, () => { from = null; });
    this.canvas.addEventListener("keydown", (event) => {
      const [yaw, tilt] = {ArrowLeft: [-5, 0], ArrowRight: [5, 0], ArrowUp: [0, -5], ArrowDown: [0, 5]}[event.key] || [];
      if (yaw === undefined) return;
      event.preventDefault();
      this.turn(this.yaw.value + yaw, this.tilt.value + tilt);
    });
  }

  turn(yaw, tilt) {
    this.yaw.set(((yaw + 540) % 360) - 180);
    this.tilt.set(tilt);
    this.ask();
  }

  preset() { this.turn(0, 0); }

  shot() {
    const findings = [...this.findings.querySelectorAll("input:checked")].map((box) => box.value);
    return {view: this.view.select.value, yaw: this.yaw.value, tilt: this.tilt.value, size: Number(this.size.select.value),
      bone: this.bone.value, centre: this.centre.value, width: this.latitude.value,
      look: Number(this.look.select.value), findings};
  }

  address(what) {
    return radiolucent.url(`xray/${this.ct}/${what}?${new URLSearchParams({shot: JSON.stringify(this.shot())})}`);
  }

  connect() {
    this.socket = new WebSocket(radiolucent.socket("rotate"));
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => { this.ask(); };
    this.socket.onmessage = (event) => this.receive(event.data);
    this.socket.onclose = (event) => {
      if (!this.built || event.target !== this.socket) return;
      if (this.problem.hidden) this.say("The connection ended; it is made anew when the picture is turned.");
    };
  }

  stop() {
    clearTimeout(this.rest);
    const old = this.socket;
    this.socket = null;
    old?.close();
  }

  say(text) {
    this.problem.textContent = text;
    this.problem.hidden = !text;
  }

  // in motion a picture is lossy and without boxes; at rest it is asked for once more
  ask() {
    delete this.dataset.ready;
    this.boxes.replaceChildren();
    this.send(false);
    clearTimeout(this.rest);
    this.rest = setTimeout(() => this.send(true), 180);
  }

  send(final) {
    if (this.socket?.readyState === WebSocket.CLOSED) { this.connect(); return; }
    if (this.socket?.readyState !== WebSocket.OPEN) return;
    this.number += 1;
    if (final) this.last = this.number;
    this.socket.send(JSON.stringify({ct: this.ct, number: this.number, final, ...this.shot()}));
  }

  async receive(data) {
    if (typeof data === "string") { this.say(JSON.parse(data).error); return; }
    const {header, body} = radiolucent.open(data);
    const picture = await createImageBitmap(new Blob([body], {type: header.type}));
    this.say("");
    this.canvas.width = picture.width;
    this.canvas.height = picture.height;
    this.canvas.getContext("2d").drawImage(picture, 0, 0);
    const now = performance.now();
    this.times = [...this.times.filter((time) => now - time < 1000), now];
    this.dataset.frames = Number(this.dataset.frames || 0) + 1;
    if (!header.final) { this.rate.textContent = `${this.times.length}/s, ${Math.round(header.ms)} ms`; return; }
    this.rate.textContent ||= `${Math.round(header.ms)} ms`;
    this.report.textContent = header.report;
    if (header.number !== this.last) return;
    this.mark(header.boxes, picture);
    this.dataset.ready = "yes";
  }

  mark(found, picture) {
    const percent = (pixels, side) => `${100 * pixels / side}%`;
    this.boxes.replaceChildren(...found.map(({name, place, box: [left, top, right, bottom]}) => {
      const frame = radiolucent.make("div", {className: "rl-box", title: `${name}, ${place}`});
      frame.append(radiolucent.make("span", {textContent: name}));
      Object.assign(frame.style, {left: percent(left, picture.width), top: percent(top, picture.height),
        width: percent(right + 1 - left, picture.width), height: percent(bottom + 1 - top, picture.height)});
      return frame;
    }));
  }
});
