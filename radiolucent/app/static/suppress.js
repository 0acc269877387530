// Before and after under one slider. The server sends radiograph and bone once; all else is drawn here.
customElements.define("suppress-view", class extends RadiolucentElement {
  build() {
    const {make, url, slider, choice, hold} = radiolucent;
    this.token = this.dataset.token;
    hold(this.token);
    this.canvas = make("canvas", {tabIndex: 0});
    this.canvas.setAttribute("role", "img");
    this.left = make("span", {className: "rl-tag rl-left"});
    this.right = make("span", {className: "rl-tag rl-right"});
    const stage = make("div", {className: "rl-stage"}, this.canvas, this.left, this.right);
    const draw = () => this.draw();
    this.split = slider("Before | after", 0, 1, 0.005, 0.5, draw, (x) => `${Math.round(100 * x)}%`);
    this.strength_ = slider("Strength", 0, 1, 0.01, 1, () => { this.link(); draw(); });
    this.level = slider("Window level", -1, 1, 0.01, 0, draw);
    this.width_ = slider("Window width", 0.1, 2, 0.01, 2, draw);
    this.show = choice("Show", [["compare", "before and after"], ["removed", "what was removed"]], draw);
    this.polarity = choice("Display", [["1", "as it is"], ["-1", "inverted"]], draw);
    const kinds = [["", `as it came (${this.dataset.kind || "png"})`], ["png", "PNG"], ["dicom", "DICOM"]];
    this.kind = choice("Format", kinds, () => this.link());
    this.save = make("a", {className: "rl-button rl-primary", download: "", textContent: "Download"});
    const controls = make("div", {className: "rl-controls"}, this.split.row, this.strength_.row, this.show.row,
      this.level.row, this.width_.row, this.polarity.row, this.kind.row, this.save);
    this.append(make("div", {className: "rl-viewer"}, stage, controls));
    const drag = (event) => {
      if (event.buttons !== 1) return;
      const box = this.canvas.getBoundingClientRect();
      this.split.set(Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)));
      this.draw();
    };
    this.canvas.addEventListener("pointerdown", (event) => { this.canvas.setPointerCapture(event.pointerId); drag(event); });
    this.canvas.addEventListener("pointermove", drag);
    this.canvas.addEventListener("keydown", (event) => {
      const step = {ArrowLeft: -0.02, ArrowRight: 0.02}[event.key];
      if (!step) return;
      event.preventDefault();
      this.split.set(this.split.value + step);
      this.draw();
    });
    this.link();
    this.load(url(`suppressed/${this.token}/layers`));
  }

  get strength() { return this.strength_ ? this.strength_.value : 1; }

  async load(address) {
    const response = await fetch(address);
    if (!response.ok) {
      this.replaceChildren(radiolucent.make("p", {className: "rl-status rl-problem", textContent: await response.text()}));
      return;
    }
    const {header, body} = radiolucent.open(await response.arrayBuffer());
    const size = header.height * header.width;
    this.about = header;
    this.layers = [0, 1, 2].slice(0, header.spread ? 3 : 2).map((n) => new Int16Array(body, 2 * n * size, size));
    if (header.spread) this.show.select.append(new Option("how sure (bright: less)", "spread"));
    this.canvas.width = header.width;
    this.canvas.height = header.height;
    this.image = this.canvas.getContext("2d").createImageData(header.width, header.height);
    this.image.data.fill(255);
    this.draw();
    this.dataset.ready = "yes";
  }

  link() {
    const query = new URLSearchParams({strength: this.strength, kind: this.kind.select.value});
    this.save.href = radiolucent.url(`suppressed/${this.token}/download?${query}`);
  }

  draw() {
    if (!this.layers) return;
    const {height, width, scale, own} = this.about;
    const [radiograph, bone, spread] = this.layers;
    const mode = this.show.select.value, sign = Number(this.polarity.select.value);
    const taken = this.strength * own, data = this.image.data;
    const split = mode === "compare" ? Math.round(this.split.value * width) : width;
    const contrast = 255 / this.width_.value, dark = this.level.value - this.width_.value / 2;
    for (let row = 0, at = 0; row < height; row++)
      for (let column = 0; column < width; column++, at++) {
        let grey;
        if (mode === "compare") {
          let value = radiograph[at] / scale;
          if (column >= split) value = Math.min(1, Math.max(-1, value - taken * bone[at] / scale));
          grey = (sign * value - dark) * contrast;
        } else if (mode === "removed") grey = 255 * Math.abs(taken) * Math.abs(bone[at]) / scale;
        else grey = 2550 * spread[at] / scale;
        const place = 4 * at;
        data[place] = data[place + 1] = data[place + 2] = grey;
      }
    const context = this.canvas.getContext("2d");
    context.putImageData(this.image, 0, 0);
    if (mode === "compare" && split > 0 && split < width) {
      context.fillStyle = "#ffd54a";
      context.fillRect(split - 1, 0, 2, height);
    }
    const tags = {
      compare: ["radiograph", `strength ${this.strength.toFixed(2)}`],
      removed: ["removed; white: half of the grey range", ""],
      spread: ["how far answers differ; white: 5% of the range", ""],
    }[mode];
    [this.left.textContent, this.right.textContent] = tags;
    this.right.hidden = !tags[1];
    this.canvas.setAttribute("aria-label", mode === "compare"
      ? `Left of ${Math.round(100 * this.split.value)}% the radiograph, right of it with bones suppressed` : tags[0]);
  }
});
