(function () {
  "use strict";
  var figures = JSON.parse(document.getElementById("figures").textContent);
  var plots = Array.prototype.slice.call(document.querySelectorAll(".plot"));
  var chips = Array.prototype.slice.call(document.querySelectorAll(".chip"));
  var panels = Array.prototype.slice.call(document.querySelectorAll(".panel"));
  var groupChoice = document.getElementById("group");
  var shown = new Set(chips.filter(isPressed).map(variantOf));
  if (!chips.length) { shown.add(0); }

  function isPressed(chip) { return chip.getAttribute("aria-pressed") === "true"; }
  function variantOf(element) { return Number(element.dataset.variant); }

  // What draws is read after the page is shown: it takes longer than all else.
  function ready() {
    if (window.Plotly) { return; }
    var script = document.createElement("script");
    script.textContent = document.getElementById("plotly").textContent;
    document.head.appendChild(script);
  }

  // A hidden plot has no width to be drawn in: it is drawn when first shown.
  function draw(div) {
    if (div.drawn || !div.offsetWidth) { return; }
    ready();
    div.drawn = true;
    var figure = painted(figures[div.dataset.figure], "");
    figure.data.forEach(function (trace) {
      if (trace.meta) { trace.visible = shown.has(trace.meta.variant); }
    });
    var axis = figure.layout.xaxis;
    if (axis.ticktext) {
      div.ticks = { vals: axis.tickvals, text: axis.ticktext };
      Object.assign(axis, ticksFor(div, div.offsetWidth));
    }
    div.named = axis.title && axis.title.text;
    if (div.named) { axis.title.text = titleFor(div, div.offsetWidth); }
    window.Plotly.newPlot(div, figure.data, figure.layout, { responsive: true, displayModeBar: false, doubleClick: false });
  }

  // A copy of a figure, in the colours of a dark screen where there is one.
  var night = {{ dark|tojson }};
  var scheme = window.matchMedia("(prefers-color-scheme: dark)");
  var paper = false;
  function painted(part, key) {
    if (Array.isArray(part)) { return part.map(function (one) { return painted(one, key); }); }
    if (part && typeof part === "object") {
      var copy = {};
      Object.keys(part).forEach(function (name) { copy[name] = painted(part[name], name); });
      return copy;
    }
    return typeof part === "string" && scheme.matches && !paper && /color/.test(key) ? atNight(part) : part;
  }
  function atNight(colour) {
    var parts = /^rgba\((\d+),(\d+),(\d+),(.*)\)$/.exec(colour);
    if (!parts) { return night[colour] || colour; }
    var hex = parts.slice(1, 4).map(function (one) { return Number(one).toString(16).padStart(2, "0"); }).join("");
    var found = Object.keys(night).find(function (one) { return one.toLowerCase() === "#" + hex; });
    if (!found) { return colour; }
    var light = [1, 3, 5].map(function (place) { return parseInt(night[found].substr(place, 2), 16); });
    return "rgba(" + light.join(",") + "," + parts[4] + ")";
  }
  function repaint() {
    plots.filter(function (div) { return div.drawn; }).forEach(function (div) {
      window.Plotly.purge(div);
      div.drawn = false;
      div.wide = false;
      draw(div);
      fitAxes(div);
    });
  }
  scheme.addEventListener("change", repaint);

  // As many of the labels of the x axis as fit side by side, evenly thinned.
  function ticksFor(div, width) {
    var longest = Math.max.apply(null, div.ticks.text.map(function (label) {
      return Math.max.apply(null, label.split("<br>").map(function (line) { return line.length; }));
    }).concat([1]));
    var room = Math.max(1, Math.floor((width - 85) / (longest * 9 + 14)));
    var stride = Math.ceil(div.ticks.text.length / room);
    function kept(value, index) { return index % stride === 0; }
    return { tickvals: div.ticks.vals.filter(kept), ticktext: div.ticks.text.filter(kept) };
  }
  // The title of the x axis in as many lines as the width asks for.
  function titleFor(div, width) {
    var most = Math.max(12, Math.floor((width - 80) / 8)), lines = [""];
    div.named.split(" ").forEach(function (word) {
      var last = lines[lines.length - 1];
      if (last && last.length + 1 + word.length > most) { lines.push(word); } else { lines[lines.length - 1] = last ? last + " " + word : word; }
    });
    return lines.join("<br>");
  }
  function fitTicks(div, width) {
    if (!div.drawn || !width) { return; }
    if (div.named && titleFor(div, width) !== div.layout.xaxis.title.text) {
      window.Plotly.relayout(div, { "xaxis.title.text": titleFor(div, width) });
    }
    if (!div.ticks) { return; }
    var ticks = ticksFor(div, width);
    if (ticks.tickvals.length !== div.layout.xaxis.tickvals.length) {
      window.Plotly.relayout(div, { "xaxis.tickvals": ticks.tickvals, "xaxis.ticktext": ticks.ticktext });
    }
  }
  window.addEventListener("resize", function () { plots.forEach(function (div) { fitTicks(div, div.offsetWidth); }); });

  // Axes fit what is shown at first; once anything else is shown, all there is.
  var first = new Set(shown);
  function whole() { return Array.from(shown).some(function (variant) { return !first.has(variant); }); }
  function fitAxes(div) {
    var meta = div.layout && div.layout.meta, wide = whole();
    if (!meta || Boolean(div.wide) === wide) { return; }
    div.wide = wide;
    var changes = {};
    Object.keys(meta).forEach(function (name) {
      div.fit = div.fit || {};
      if (!div.fit[name]) { div.fit[name] = { range: div.layout[name].range.slice(), tickvals: div.layout[name].tickvals, ticktext: div.layout[name].ticktext }; }
      var taken = wide ? meta[name] : div.fit[name];
      Object.keys(taken).forEach(function (key) { changes[name + "." + key] = taken[key]; });
      if (name === "xaxis" && wide) { div.ticks = { vals: taken.tickvals, text: taken.ticktext }; }
    });
    window.Plotly.relayout(div, changes);
    fitTicks(div, div.offsetWidth);
  }

  function update() {
    chips.forEach(function (chip) { chip.setAttribute("aria-pressed", String(shown.has(variantOf(chip)))); });
    document.querySelectorAll(".legend-row").forEach(function (row) {
      row.classList.toggle("none-shown", !row.querySelector('[aria-pressed="true"]'));
    });
    panels.forEach(function (panel) {
      var rightGroup = !groupChoice || panel.dataset.group === groupChoice.value;
      panel.hidden = !(rightGroup && shown.has(variantOf(panel)));
    });
    document.querySelectorAll(".of-group").forEach(function (words) {
      words.hidden = Boolean(groupChoice) && words.dataset.group !== groupChoice.value;
    });
    plots.forEach(function (div) {
      if (!div.drawn) { draw(div); fitAxes(div); return; }
      fitAxes(div);
      var indices = [], visible = [];
      div.data.forEach(function (trace, index) {
        if (trace.meta) { indices.push(index); visible.push(shown.has(trace.meta.variant)); }
      });
      if (indices.length) { window.Plotly.restyle(div, { visible: visible }, indices); }
      else if (div.offsetWidth) { window.Plotly.Plots.resize(div); }
    });
  }

  chips.forEach(function (chip) {
    chip.addEventListener("click", function () {
      var variant = variantOf(chip);
      if (!shown.delete(variant)) { shown.add(variant); }
      update();
    });
  });
  if (groupChoice) { groupChoice.addEventListener("change", update); }

  // A menu above figures shows one of them.
  document.querySelectorAll(".switch").forEach(function (menu) {
    var parts = document.querySelectorAll('[data-switched="' + menu.dataset.of + '"]');
    menu.addEventListener("change", function () {
      parts.forEach(function (part) { part.hidden = part.dataset.name !== menu.value; });
      update();
    });
  });

  // A field above tables leaves the rows that hold what is typed into it.
  document.querySelectorAll(".narrow").forEach(function (field) {
    field.addEventListener("input", function () {
      var wanted = field.value.trim().toLowerCase();
      field.closest("details").querySelectorAll("tbody tr").forEach(function (row) {
        row.hidden = row.textContent.toLowerCase().indexOf(wanted) < 0;
      });
    });
  });

  // Plots are drawn to the width of the screen; paper has its own.
  function resize(paper) {
    plots.forEach(function (div) {
      if (!div.drawn) { return; }
      var small = div.classList.contains("small"), tall = div.classList.contains("tall"), own = Number(div.dataset.height || 0);
      if (paper) {
        var width = tall || own ? 690 : 335;
        window.Plotly.relayout(div, { autosize: false, width: width, height: own || (small ? 200 : tall ? 300 : 250) });
        fitTicks(div, width);
      } else {
        window.Plotly.relayout(div, { autosize: true, width: null, height: own || (small ? 230 : tall ? 440 : 340) });
        fitTicks(div, div.offsetWidth);
      }
    });
  }
  window.addEventListener("beforeprint", function () {
    paper = true;
    document.querySelectorAll("details.whole").forEach(function (part) { part.open = true; });
    if (scheme.matches) { repaint(); }
    plots.forEach(draw);
    resize(true);
  });
  window.addEventListener("afterprint", function () {
    paper = false;
    resize(false);
    if (scheme.matches) { repaint(); }
  });

  // What is seen at first is drawn at once, the rest when there is time, from above to below.
  var waiting = plots.slice();
  var later = window.requestIdleCallback || function (work) { window.setTimeout(work, 1); };
  function drawNext() {
    while (waiting.length) {
      var div = waiting.shift();
      if (!div.drawn && div.offsetWidth) { draw(div); later(drawNext); return; }
    }
  }
  function begin() {
    plots.filter(function (div) { return div.getBoundingClientRect().top < window.innerHeight; }).forEach(draw);
    later(drawNext);
  }
  window.addEventListener("load", function () {
    window.requestAnimationFrame(function () { window.setTimeout(begin, 0); });
  });
})();
