// Pictures as files, and appendices that open where they are asked for. The page works without it.
function standalone(svg) {
  const copy = svg.cloneNode(true), area = svg.viewBox.baseVal;
  const shown = svg.querySelectorAll(".core"), kept = copy.querySelectorAll(".core");
  shown.forEach((core, k) => kept[k].setAttribute("fill", getComputedStyle(core).fill));
  copy.querySelectorAll("[style]").forEach(part => part.removeAttribute("style"));
  copy.removeAttribute("style");
  copy.setAttribute("width", Math.round(area.width));
  copy.setAttribute("height", Math.round(area.height));
  copy.setAttribute("font-family", "system-ui,-apple-system,Segoe UI,Helvetica,Arial,sans-serif");
  const sheet = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  for (const [name, value] of Object.entries({
    x: area.x, y: area.y, width: area.width, height: area.height, fill: "#ffffff",
  })) sheet.setAttribute(name, value);
  copy.prepend(sheet);
  return new XMLSerializer().serializeToString(copy);
}
for (const place of document.querySelectorAll(".files .svg")) {
  const figure = place.closest("figure"), name = place.parentElement.querySelector("a").download;
  const button = document.createElement("button");
  button.textContent = "SVG";
  button.setAttribute("aria-label", "SVG of " + name.replace(".csv", ""));
  button.addEventListener("click", () => {
    const link = document.createElement("a");
    const file = new Blob([standalone(figure.querySelector("svg"))], {type: "image/svg+xml"});
    link.href = URL.createObjectURL(file);
    link.download = name.replace(".csv", ".svg");
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
  place.replaceWith(button);
}
function unfold() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const folded = target && target.querySelector("details");
  if (folded) { folded.open = true; target.scrollIntoView(); }
}
addEventListener("hashchange", unfold);
unfold();
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  opened.forEach(folded => { folded.open = true; });
});
addEventListener("afterprint", () => opened.forEach(folded => { folded.open = false; }));
