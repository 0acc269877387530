// A folder that is dropped on the page: gradio's fields take dropped files alone, and a folder for an empty file.
(() => {
  // all files below an entry of a drop
  const filesOf = async (entry) => {
    if (entry.isFile) return [await new Promise((done, failed) => entry.file(done, failed))];
    const reader = entry.createReader(), found = [];
    for (;;) {  // each call gives some of them, the last one none
      const some = await new Promise((done, failed) => reader.readEntries(done, failed));
      if (!some.length) return found;
      for (const one of some) found.push(...await filesOf(one));
    }
  };

  const say = (field, text) => {
    const line = radiolucent.make("p", {className: "rl-status rl-problem rl-dropped", textContent: text});
    line.setAttribute("role", "alert");
    field.closest("[role=tabpanel]").firstElementChild.prepend(line);
  };

  const unsay = () => document.querySelectorAll(".rl-dropped").forEach((line) => line.remove());
  document.addEventListener("change", unsay, true);
  document.addEventListener("drop", async (event) => {
    if (event.isTrusted) unsay();
    const target = event.target, field = target.closest?.("[id]:has(input[type=file])");
    const input = field?.querySelector("input[type=file]");
    const entries = [...(event.dataTransfer?.items || [])].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    if (!input || !entries.some((entry) => entry.isDirectory)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    const all = new DataTransfer();  // with nothing in it the field only lets go of its highlight
    let text = "";
    if (!input.webkitdirectory) text = "A folder was dropped where one file is taken: drop the file, or a zip of DICOM slices.";
    else try {
      for (const entry of entries) for (const file of await filesOf(entry)) all.items.add(file);
      if (!all.files.length) text = "The folder that was dropped holds no files.";
    } catch (error) {
      text = `The folder that was dropped cannot be read (${error.message}).`;
    }
    if (text) say(field, text);
    target.dispatchEvent(new DragEvent("drop", {dataTransfer: all, bubbles: true, cancelable: true}));
  }, true);
})();
