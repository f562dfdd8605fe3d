/* Heatmap and curves on the page: draws what RunSeries says of the run that the token canvas shows.
 *
 * mountRunCharts(element, host): `element` contains charts.html; `host.root` is where the canvas's events pass
 * (the document, unless a page has several canvases), `host.exact` says that somebody there hears `ddemo:look`
 * {what: "exact"}, the wish for exact values, and answers with `ddemo:looking` {what, on, text}. Hears `ddemo:shown` {shown: the run or null, at: index
 * of the stop on show, pos, share}; says `ddemo:ask` once (show me what you show), `ddemo:point` {run, pos} while a
 * cell is under the pointer, `ddemo:goto` {run, step, at, pos} when one is clicked. Asks no server anything.
 *
 * The heatmap is a picture of one pixel a cell, enlarged without smoothing; a new step draws its own column.
 * The step on show, the token pointed at and the cell cursor lie above it as elements, so that playing draws
 * nothing.
 */
function mountRunCharts(element, host) {
  'use strict';

  const S = RunSeries;
  const AXIS = 24, WORD_ROW = 17, LEAST_ROW = 1.5, MOST_ROW = 26, GRID_FROM = 7, GLYPH_FROM = 5, FRAME_FROM = 11;
  const LEVELS = 256, PAGE = 10, DASH = '–';
  const SVG = 'http://www.w3.org/2000/svg';
  const HINT = 'Point at a cell to read it; click it to go there.';
  const EMPTY = 'Press Denoise: what the model believed at each position and step is drawn here.';
  const root = (host && host.root) || document;
  const ui = {};
  element.querySelectorAll('[data-ddc]').forEach((node) => { ui[node.dataset.ddc] = node; });

  let run = null, at = 0, pos = null; // what the canvas shows
  let share = CanvasModel.SHARE; // below which a commit clashes
  let hover = null, cursor = null; // {column, at}: under the pointer, and where the keys are
  let curveHover = null; // a column
  let quantity = 'written';

  function setText(node, text) { if (node.textContent !== text) node.textContent = text; }
  function setHidden(node, hidden) { if (node.hidden !== hidden) node.hidden = hidden; }
  const clamp = (x, low, high) => Math.max(low, Math.min(high, x));

  for (const [name, {title}] of Object.entries(S.QUANTITIES)) {
    const option = document.createElement('option');
    option.value = name;
    option.textContent = title;
    ui.quantity.append(option);
  }

  // Only what can be asked of the run on show is offered.
  function offerQuantities() {
    for (const option of ui.quantity.options) option.hidden = option.disabled = !S.isOf(option.value, run);
    if (S.isOf(quantity, run)) return;
    quantity = ui.quantity.value = 'written';
  }
  offerQuantities();

  // ---------------------------------------------------------------- colours

  let colours = null; // of the theme that stands; null: to be read again

  function readColours() {
    const style = getComputedStyle(element);
    const get = (name) => style.getPropertyValue(name).trim();
    const named = {
      ink: get('--dd-ink'), muted: get('--dd-muted'), line: get('--dd-line'), strong: get('--dd-line-strong'),
      surface: get('--dd-surface'), given: get('--dd-sunken'), edit: get('--dd-forced'), hatch: get('--ddc-hatch'),
      outside: get('--ddc-outside'), sans: get('--dd-sans'), serif: get('--dd-serif'),
    };
    const stops = (ramp) => [0, 1, 2, 3, 4].map((i) => get(`--ddc-${ramp}-${i}`));
    colours = {
      ...named, stops, sure: levels(stops('sure')), unsure: levels(stops('unsure')),
      givenPixel: pixel(named.given), outsidePixel: pixel(named.outside),
      hatchTile: hatch(named.hatch, named.surface),
    };
    // Marks are drawn in ink or in paper, whichever is further from the cell.
    const inkDark = light(pixel(named.ink)) < 128;
    for (const ramp of ['sure', 'unsure']) {
      const markOn = (value) => ((light(value) > 118) === inkDark ? named.ink : named.surface);
      colours[`${ramp}Mark`] = Array.from(colours[ramp], markOn);
    }
  }

  function scratch(width, height) {
    const node = document.createElement('canvas');
    node.width = width;
    node.height = height;
    return node;
  }

  function levels(stops) { // the ramp as LEVELS pixels
    const context = scratch(LEVELS, 1).getContext('2d', {willReadFrequently: true});
    const gradient = context.createLinearGradient(0, 0, LEVELS, 0);
    stops.forEach((colour, i) => gradient.addColorStop(i / (stops.length - 1), colour));
    context.fillStyle = gradient;
    context.fillRect(0, 0, LEVELS, 1);
    return new Uint32Array(context.getImageData(0, 0, LEVELS, 1).data.buffer);
  }

  function pixel(colour) {
    const context = scratch(1, 1).getContext('2d', {willReadFrequently: true});
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    return new Uint32Array(context.getImageData(0, 0, 1, 1).data.buffer)[0];
  }

  const light = (value) => 0.3 * (value & 255) + 0.59 * ((value >> 8) & 255) + 0.11 * ((value >> 16) & 255);

  function hatch(ink, paper) {
    const tile = scratch(8, 8), context = tile.getContext('2d');
    context.fillStyle = paper;
    context.fillRect(0, 0, 8, 8);
    context.strokeStyle = ink;
    context.lineWidth = 1;
    context.beginPath();
    for (const x of [-8, 0, 8]) { context.moveTo(x - 1, 9); context.lineTo(x + 9, -1); }
    context.stroke();
    return tile;
  }

  // ---------------------------------------------------------------- the picture: one pixel a cell

  let image = null; // {canvas, context, run, quantity, parts, finals, count, rows, planned, marks, seen}
  const columnsOf = () => image.planned;
  const partAt = (column) => image.parts.findIndex((part) => column >= part.from && column <= part.to);

  function pixelOf(stop, cell, value) {
    if (value >= 0) {
      const level = Math.round(S.shade(quantity, value, image.run) * (LEVELS - 1));
      return colours[S.QUANTITIES[quantity].ramp][level];
    }
    if (value === S.OUTSIDE) {
      image.seen.add('outside');
      return colours.outsidePixel;
    }
    const own = stop.tokens[cell] === stop.mask || stop.commits[cell] || !(stop.flags[cell] & CanvasModel.FIXED);
    if (own) return 0; // nothing: the hatching shows
    image.seen.add('given');
    return colours.givenPixel;
  }

  function drawColumn(column) {
    const stop = image.run.stops[column];
    const values = S.columnOf(image.run, stop, quantity, image.finals[partAt(column)]);
    const strip = new Uint32Array(image.rows);
    values.forEach((value, cell) => { strip[cell] = pixelOf(stop, cell, value); });
    const data = new ImageData(new Uint8ClampedArray(strip.buffer), 1, image.rows);
    image.context.putImageData(data, column, 0);
    image.marks[column] = S.marksAt(image.run, column);
    for (const {kind} of image.marks[column]) image.seen.add(kind);
  }

  // Rows whose final token has become another: only these change in the columns that stand.
  function drawRow(cell) {
    for (let column = 0; column < image.count; column += 1) {
      const stop = image.run.stops[column], ends = image.finals[partAt(column)];
      if (cell >= stop.tokens.length) continue;
      const one = new Uint32Array([pixelOf(stop, cell, S.valueAt(image.run, stop, cell, quantity, ends[cell]))]);
      image.context.putImageData(new ImageData(new Uint8ClampedArray(one.buffer), 1, 1), column, cell);
    }
  }

  function startImage() {
    const parts = S.segments(run), rows = Math.max(...parts.map((part) => part.length));
    const planned = S.plannedColumns(run), canvas = scratch(planned, rows);
    image = {
      canvas, context: canvas.getContext('2d'), run, quantity, parts, finals: S.finals(run, parts), count: 0, rows,
      planned, marks: [], seen: new Set(),
    };
    while (image.count < run.stops.length) { drawColumn(image.count); image.count += 1; }
  }

  /* Brings the picture up to the run on show. Returns the first column to paint anew: 0 for all of them. */
  function updateImage() {
    const last = image && image.count - 1;
    const goesOn = image && image.quantity === quantity && image.canvas.width >= S.plannedColumns(run)
      && image.run.stops[last] === run.stops[last] && run.stops.length >= image.count
      && image.run.exact === run.exact;
    const parts = goesOn ? S.segments(run) : null;
    if (!goesOn || parts.length !== image.parts.length) {
      startImage();
      return 0;
    }
    const planned = S.plannedColumns(run), moved = planned !== image.planned;
    const before = image.finals, from = image.count;
    Object.assign(image, {run, parts, planned, finals: S.finals(run, parts)});
    while (image.count < run.stops.length) { drawColumn(image.count); image.count += 1; }
    if (!S.ofFinal(quantity)) return moved ? 0 : from;
    let rows = 0;
    before[0].forEach((id, cell) => {
      const changed = before.some((ids, i) => cell < ids.length && ids[cell] !== image.finals[i][cell]);
      if (changed) { drawRow(cell); rows += 1; }
    });
    return rows || moved ? 0 : from;
  }

  // ---------------------------------------------------------------- the heatmap on the page

  let box = null; // where things lie on the page: {width, height, gutter, plot, rowHeight, columnWidth, scale}

  function measure() {
    const width = ui.scroll.clientWidth, height = ui.scroll.clientHeight;
    const gutter = width < 480 ? 84 : 116, room = height - AXIS;
    const least = ui.rows.value === 'words' ? WORD_ROW : LEAST_ROW;
    const rowHeight = clamp(room / image.rows, least, MOST_ROW);
    const plot = Math.min(room, rowHeight * image.rows);
    const columnWidth = Math.max(1, width - gutter - 10) / columnsOf();
    return {width, height, gutter, plot, rowHeight, columnWidth, scale: window.devicePixelRatio || 1};
  }

  const xOf = (box, column) => box.gutter + column * box.columnWidth;

  function paint(from) {
    const next = measure();
    const same = box && Object.keys(next).every((key) => box[key] === next[key]);
    box = next;
    const {canvas, spacer} = ui;
    if (!same) {
      canvas.width = Math.round(box.width * box.scale);
      canvas.height = Math.round(box.height * box.scale);
      canvas.style.width = `${box.width}px`;
      canvas.style.height = `${box.height}px`;
      spacer.style.height = `${Math.max(0, Math.round(box.rowHeight * image.rows + AXIS - box.height))}px`;
    }
    const context = canvas.getContext('2d');
    context.setTransform(box.scale, 0, 0, box.scale, 0, 0);
    drawMap(context, box, ui.scroll.scrollTop, same ? from : 0);
    place();
  }

  function drawMap(context, box, scroll, from) {
    context.save();
    const left = from ? xOf(box, from) : 0;
    context.beginPath();
    context.rect(left, 0, box.width - left, box.height);
    context.clip();
    context.fillStyle = colours.surface;
    context.fillRect(left, 0, box.width - left, box.height);
    context.save();
    context.beginPath();
    context.rect(box.gutter, 0, box.width - box.gutter, box.plot);
    context.clip();
    drawCells(context, box, scroll);
    if (ui.marks.checked) drawMarks(context, box, scroll, from);
    context.restore();
    drawWords(context, box, scroll);
    drawAxis(context, box);
    context.restore();
  }

  function drawCells(context, box, scroll) {
    const {rowHeight, columnWidth} = box;
    context.fillStyle = context.createPattern(colours.hatchTile, 'repeat');
    for (const part of image.parts) {
      const x = xOf(box, part.from), width = (part.to - part.from + 1) * columnWidth;
      context.fillRect(x, 0, width, Math.min(box.plot, part.length * rowHeight - scroll));
    }
    context.imageSmoothingEnabled = false;
    const {canvas, planned, rows} = image;
    context.drawImage(canvas, 0, 0, planned, rows, box.gutter, -scroll, planned * columnWidth, rows * rowHeight);
    context.fillStyle = colours.surface;
    if (rowHeight >= GRID_FROM) {
      for (let row = Math.floor(scroll / rowHeight); row * rowHeight - scroll <= box.plot; row += 1) {
        context.fillRect(box.gutter, Math.round(row * rowHeight - scroll), box.width - box.gutter, 1);
      }
    }
    if (columnWidth >= GRID_FROM) {
      for (let column = 0; column <= planned; column += 1) {
        context.fillRect(Math.round(xOf(box, column)), 0, 1, box.plot);
      }
    }
    context.fillStyle = colours.edit;
    for (const part of image.parts.slice(1)) context.fillRect(Math.round(xOf(box, part.from)) - 1, 0, 2, box.plot);
  }

  function markColour(column, cell) {
    const stop = image.run.stops[column], final = image.finals[partAt(column)][cell];
    const value = S.valueAt(image.run, stop, cell, quantity, final);
    if (!(value >= 0)) return colours.ink;
    const level = Math.round(S.shade(quantity, value, image.run) * (LEVELS - 1));
    return colours[`${S.QUANTITIES[quantity].ramp}Mark`][level];
  }

  function drawMarks(context, box, scroll, from) {
    const {rowHeight, columnWidth} = box, cellSize = Math.min(rowHeight, columnWidth);
    const size = clamp(cellSize * 0.22, 1.6, 3.2);
    const top = Math.floor(scroll / rowHeight) - 1, bottom = (scroll + box.plot) / rowHeight + 1;
    context.lineWidth = 1.4;
    for (let column = Math.max(0, from - 1); column < image.count; column += 1) {
      const x = xOf(box, column + 0.5);
      for (const {at: cell, kind} of image.marks[column]) {
        if (cell < top || cell > bottom) continue;
        const y = (cell + 0.5) * rowHeight - scroll;
        context.fillStyle = context.strokeStyle = markColour(column, cell);
        if (cellSize < GLYPH_FROM && kind === 'commit') context.fillRect(x - 1.25, y - 1.25, 2.5, 2.5);
        else glyph(context, kind, x, y, size);
      }
    }
  }

  function glyph(context, kind, x, y, r) {
    context.beginPath();
    if (kind === 'commit') {
      context.arc(x, y, r, 0, 2 * Math.PI);
      context.fill();
      return;
    }
    if (kind === 'remask') {
      context.moveTo(x - r, y - r); context.lineTo(x + r, y + r);
      context.moveTo(x + r, y - r); context.lineTo(x - r, y + r);
    } else {
      context.moveTo(x, y - r - 0.6); context.lineTo(x + r + 0.6, y); context.lineTo(x, y + r + 0.6);
      context.lineTo(x - r - 0.6, y); context.closePath();
    }
    context.stroke();
  }

  // Beside the rows: the number of the position and what stands there by now, as many as there is room for.
  function drawWords(context, box, scroll) {
    const stop = image.run.stops[image.count - 1], length = stop.tokens.length;
    const every = [1, 2, 5, 10, 20, 25, 50, 100].find((n) => n * box.rowHeight >= 13) || 200;
    context.textBaseline = 'middle';
    const first = Math.max(0, Math.floor(scroll / box.rowHeight) - 1);
    const last = Math.min(length - 1, Math.ceil((scroll + box.plot) / box.rowHeight));
    for (let cell = first; cell <= last; cell += 1) {
      const number = CanvasModel.number(cell), y = (cell + 0.5) * box.rowHeight - scroll;
      if ((every > 1 && number % every !== 0) || y < 4 || y > box.plot - 3) continue;
      context.font = `11px ${colours.sans}`;
      context.fillStyle = colours.muted;
      context.textAlign = 'right';
      context.fillText(String(number), 26, y);
      if (stop.tokens[cell] === stop.mask) continue;
      context.font = `13px ${colours.serif}`;
      context.fillStyle = colours.ink;
      context.textAlign = 'left';
      context.fillText(fitted(context, S.textAt(image.run, stop, cell), box.gutter - 40), 33, y);
    }
  }

  function fitted(context, text, width) {
    if (context.measureText(text).width <= width) return text;
    const letters = [...text];
    while (letters.length && context.measureText(`${letters.join('')}…`).width > width) letters.pop();
    return `${letters.join('')}…`;
  }

  function drawAxis(context, box) {
    const y = box.plot;
    context.fillStyle = colours.strong;
    context.fillRect(box.gutter, Math.round(y), columnsOf() * box.columnWidth, 1);
    context.font = `11.5px ${colours.sans}`;
    context.fillStyle = colours.muted;
    context.textAlign = 'center';
    context.textBaseline = 'middle';
    const most = Math.max(2, Math.floor((columnsOf() * box.columnWidth) / 44));
    for (const {column, step} of S.stepTicks(image.run, most)) {
      const x = xOf(box, column + 0.5);
      context.fillRect(Math.round(x), Math.round(y), 1, 4);
      context.fillText(String(step), x, y + 13);
    }
    context.textAlign = 'right';
    context.fillText('step', box.gutter - 8, y + 13);
  }

  // What lies above the picture. Moving it draws nothing.
  function place() {
    const on = Boolean(run && box && image);
    for (const name of ['now', 'chip', 'row', 'cell']) if (!on) setHidden(ui[name], true);
    if (!on) return;
    const {over, now, chip, row, cell} = ui, scroll = ui.scroll.scrollTop;
    Object.assign(over.style, {
      left: `${box.gutter}px`, width: `${columnsOf() * box.columnWidth + 2}px`, height: `${box.plot}px`,
    });
    const x = (clamp(at, 0, columnsOf() - 1) + 0.5) * box.columnWidth;
    setHidden(now, false);
    setHidden(chip, false);
    const framed = box.columnWidth >= FRAME_FROM; // there is room to leave the column's marks free
    now.classList.toggle('ddc-framed', framed);
    now.style.width = framed ? `${box.columnWidth + 2}px` : '';
    now.style.transform = `translateX(calc(${x.toFixed(1)}px - 50%))`;
    setText(chip, String(run.stops[Math.min(at, run.stops.length - 1)].step));
    chip.style.transform = `translateX(calc(${(box.gutter + x).toFixed(1)}px - 50%))`;
    const marked = cursor || hover, high = Math.max(4, box.rowHeight), wide = Math.max(4, box.columnWidth);
    const pointed = marked ? marked.at : pos;
    setHidden(row, pointed === null || pointed >= image.rows);
    if (!row.hidden) {
      row.style.height = `${high}px`;
      row.style.transform = `translateY(${((pointed + 0.5) * box.rowHeight - high / 2 - scroll).toFixed(1)}px)`;
    }
    setHidden(cell, !marked);
    if (!marked) return;
    cell.style.width = `${wide + 2}px`;
    cell.style.height = `${high + 2}px`;
    const left = (marked.column + 0.5) * box.columnWidth - wide / 2 - 1;
    const top = (marked.at + 0.5) * box.rowHeight - high / 2 - scroll - 1;
    cell.style.transform = `translate(${left.toFixed(1)}px, ${top.toFixed(1)}px)`;
  }

  // ---------------------------------------------------------------- words around the picture

  function reading(cell) {
    const final = image.finals[partAt(cell.column)][cell.at];
    return S.describe(run, cell.column, cell.at, quantity, final);
  }

  function idleWords() {
    if (!run) return '';
    if (run.status !== 'running') return HINT;
    return `Denoising: ${run.stops[run.stops.length - 1].step} of ${run.head.steps} steps are drawn.`;
  }

  function drawLine() {
    const marked = run && image ? cursor || hover : null;
    const words = marked ? reading(marked) : {where: '', state: idleWords(), value: ''};
    ui.state.parentNode.classList.toggle('ddc-idle', !marked);
    setText(ui.where, words.where);
    setText(ui.state, words.state);
    setText(ui.value, words.value);
  }

  function drawLegend() {
    const {ramp, most} = S.QUANTITIES[quantity], k = (run && run.head.k) || 0, rank = quantity === 'rank';
    ui.ramp.dataset.ramp = ramp;
    ui.ramp.toggleAttribute('data-turned', rank);
    setText(ui.low, rank ? '1' : '0');
    const exact = run && run.exact, beyond = run && image && image.seen.has('outside');
    setText(ui.high, rank ? S.whole((run && S.lastRank(run)) || DASH) : S.isOpen(quantity) ? `${most}+` : String(most));
    const unit = rank && exact ? 'rank, by its logarithm' : S.QUANTITIES[quantity].short;
    setText(ui.unit, quantity === 'entropy' ? 'nats' : unit);
    setText(ui.outside, quantity === 'rank' ? `> ${k}` : `> ${k}: outside the ${k} kept`);
    setHidden(ui['key-outside'], !S.ofFinal(quantity) || Boolean(exact && !beyond));
    const whole = exact && exact.steps >= run.stops[run.stops.length - 1].step;
    setHidden(ui.exact, !(host && host.exact) || !beyond || run.status === 'running' || whole);
    const name = S.QUANTITIES[quantity].title;
    ui.scroll.setAttribute('aria-label', `Heatmap of the ${name}: arrow keys read a cell, Enter goes there`);
    setText(ui.absent, quantity === 'written' ? 'not written yet' : 'not asked');
    const seen = run && image ? image.seen : new Set();
    setHidden(ui['key-given'], !run || !seen.has('given'));
    setHidden(ui['key-commit'], !ui.marks.checked || !seen.has('commit'));
    setHidden(ui['key-remask'], !ui.marks.checked || !seen.has('remask'));
    setHidden(ui['key-resample'], !ui.marks.checked || !seen.has('resample'));
    setHidden(ui['key-edit'], !run || !image || image.parts.length < 2);
    setText(ui.empty, run ? '' : EMPTY);
    for (const name of ['map-png', 'map-csv', 'curves-png', 'curves-svg', 'curves-csv']) ui[name].disabled = !run;
  }

  // ---------------------------------------------------------------- curves

  const probability = (p) => (p >= 0 ? S.small(p) : DASH);
  const whole = (x) => (Number.isFinite(x) ? String(x) : DASH);
  const nats = (x) => (x >= 0 ? `${x.toFixed(2)} nats` : DASH);

  const most = (values, least) => values.reduce((top, x) => (x > top ? x : top), least);

  /* Small charts over one step axis. `top` is the end of the scale; `lines` are drawn, the last on top. */
  const CHARTS = [
    {
      name: (c) => (c.masked ? 'confidence of the masks' : 'confidence of all positions'), top: () => 1,
      lines: [['gate', 'ddc-curve ddc-second', 'gate '], ['mean', 'ddc-curve', 'mean ']], say: probability,
    },
    {
      name: (c) => (c.masked ? 'mean entropy of the masks' : 'mean entropy of all positions'),
      top: () => S.MOST_ENTROPY,
      lines: [['entropy', 'ddc-curve', '']], say: nats,
    },
    {
      name: (c) => (c.masked ? 'masks left' : 'masks left: this noise has none'), top: (c) => most(c.masks, 1),
      lines: [['masks', 'ddc-curve', '']], say: whole,
    },
    {name: () => 'tokens written by the step', top: (c) => most(c.wrote, 4), bars: 'wrote', say: whole},
    {
      name: () => 'denoiser calls so far (NFE)', top: (c, count) => most(c.nfe, count - 1),
      lines: [['nfe', 'ddc-curve', '']], say: whole,
    },
    {name: () => 'order of writing: position by step', order: true},
  ];
  const EVEN = [1, 2, 4, 5, 8, 10, 16, 20, 32, 40, 50, 64, 80, 100, 128, 160, 200, 256, 400, 512, 800, 1024];
  const roundTop = (x) => (x <= 1 ? 1 : EVEN.find((n) => n >= x) || Math.ceil(x / 1000) * 1000);

  let curves = null; // {svg, width, height, charts: [...], data, run, count, planned}

  function svgNode(parent, tag, attributes, text) {
    const node = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text !== undefined) node.textContent = text;
    if (parent) parent.append(node);
    return node;
  }

  const HEAD = 22, LEFT = 34, RIGHT = 8, FOOT = 20;
  const curveX = (column) => LEFT + ((column + 0.5) * (curves.width - LEFT - RIGHT)) / curves.planned;

  function startCurves() {
    const width = ui.plots.clientWidth, height = ui.plots.clientHeight;
    const label = 'Curves of the run over its steps';
    const svg = svgNode(null, 'svg', {viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': label});
    ui.plots.replaceChildren(svg);
    const slot = (height - FOOT) / CHARTS.length;
    curves = {svg, width, height, slot, charts: [], data: null, count: 0, planned: 0};
    curves.charts = CHARTS.map((chart, i) => {
      const y = i * slot, top = y + HEAD, bottom = y + slot - 8;
      const group = svgNode(svg, 'g', {});
      const name = svgNode(group, 'text', {x: 0, y: y + 13, class: 'ddc-name'});
      const read = svgNode(group, 'text', {x: width - RIGHT, y: y + 13, class: 'ddc-read', 'text-anchor': 'end'});
      svgNode(group, 'line', {x1: LEFT, x2: width - RIGHT, y1: top + 0.5, y2: top + 0.5, class: 'ddc-grid'});
      svgNode(group, 'line', {x1: LEFT, x2: width - RIGHT, y1: bottom + 0.5, y2: bottom + 0.5, class: 'ddc-base'});
      const high = svgNode(group, 'text', {x: LEFT - 6, y: top + 4, 'text-anchor': 'end'});
      const low = svgNode(group, 'text', {x: LEFT - 6, y: bottom + 4, 'text-anchor': 'end'});
      const paths = (chart.lines || []).map(([, style]) => svgNode(group, 'path', {class: style}));
      const bars = chart.bars ? svgNode(group, 'path', {class: 'ddc-bars'}) : null;
      const passed = chart.order ? svgNode(group, 'path', {class: 'ddc-passed'}) : null;
      const points = chart.order ? svgNode(group, 'path', {class: 'ddc-points'}) : null;
      const says = (chart.lines || []).map(([, style], j) => { // in the colours of their lines where there are two
        const only = chart.lines.length === 1;
        const kind = only ? '' : style.includes('second') ? 'ddc-read-second' : 'ddc-read-first';
        return svgNode(read, 'tspan', {dx: j ? 12 : 0, class: `ddc-read ${kind}`});
      });
      return {chart, name, read, says, high, low, paths, bars, passed, points, dots: [], y: [top, bottom], end: 1};
    });
    curves.edits = svgNode(svg, 'path', {class: 'ddc-edit', fill: 'none'});
    curves.axis = svgNode(svg, 'g', {});
    curves.cursor = svgNode(svg, 'path', {class: 'ddc-cursor'});
    for (const slot of curves.charts) { // above the cursor
      slot.dots = (slot.chart.lines || []).map(([, style]) => (
        svgNode(svg, 'circle', {r: 3.4, class: style.includes('second') ? 'ddc-dot-second' : 'ddc-dot'})));
    }
  }

  const yOf = ({y, end}, value) => y[1] - (clamp(value, 0, end) / end) * (y[1] - y[0]);

  function linePath(slot, values) {
    let path = '', pen = false;
    for (let column = 0; column < values.length; column += 1) {
      const known = Number.isFinite(values[column]);
      if (known) path += `${pen ? 'L' : 'M'}${curveX(column).toFixed(1)} ${yOf(slot, values[column]).toFixed(1)}`;
      if (known && !pen && !Number.isFinite(values[column + 1])) path += 'h.1'; // a lone point
      pen = known;
    }
    return path;
  }

  function barPath(slot, values) {
    const step = (curves.width - LEFT - RIGHT) / curves.planned, wide = Math.max(1, step - (step > 4 ? 1.5 : 0));
    let path = '';
    values.forEach((value, column) => {
      if (!(value > 0)) return;
      const x = (curveX(column) - wide / 2).toFixed(1), y = yOf(slot, value).toFixed(1), [, foot] = slot.y;
      path += `M${x} ${foot}V${y}h${wide.toFixed(1)}V${foot}z`;
    });
    return path;
  }

  function orderPaths(slot) {
    const rows = image.rows, [top, bottom] = slot.y;
    const y = (cell) => top + ((cell + 0.5) / rows) * (bottom - top);
    let points = '', passed = '';
    for (const {column, at: cell, kind, stands} of S.order(run)) {
      const place = [curveX(column), y(cell)].map((x) => x.toFixed(1)).join(' ');
      if (stands) points += `M${place}h0`;
      else passed += kind === 'remask' ? `M${place}m-2-2l4 4m0-4l-4 4` : `M${place}m-2 0l2-2l2 2l-2 2z`;
    }
    return [points, passed];
  }

  function drawCurves() {
    if (!run) {
      curves = null;
      ui.plots.replaceChildren();
      setText(ui['curves-at'], '');
      return;
    }
    if (!curves || curves.width !== ui.plots.clientWidth || curves.height !== ui.plots.clientHeight) startCurves();
    curves.data = S.curves(run);
    curves.planned = S.plannedColumns(run);
    for (const slot of curves.charts) {
      const {chart} = slot;
      setText(slot.name, chart.name(curves.data));
      if (chart.order) {
        const [points, passed] = orderPaths(slot);
        slot.points.setAttribute('d', points);
        slot.passed.setAttribute('d', passed);
        setText(slot.high, '1');
        setText(slot.low, String(image.rows));
        continue;
      }
      slot.end = roundTop(chart.top(curves.data, curves.planned));
      setText(slot.high, String(slot.end));
      setText(slot.low, '0');
      slot.paths.forEach((path, i) => path.setAttribute('d', linePath(slot, curves.data[chart.lines[i][0]])));
      if (slot.bars) slot.bars.setAttribute('d', barPath(slot, curves.data[chart.bars]));
    }
    drawCurveAxis();
    placeCurves();
  }

  function drawCurveAxis() {
    const most = Math.max(2, Math.floor(curves.width / 56));
    const ticks = S.stepTicks(run, most), key = ticks.map(({column, step}) => `${column}:${step}`).join();
    if (curves.ticks === key) return;
    curves.ticks = key;
    const y = curves.height - 5;
    curves.axis.replaceChildren(...ticks.map(({column, step}) => (
      svgNode(null, 'text', {x: curveX(column).toFixed(1), y, 'text-anchor': 'middle'}, String(step)))));
    svgNode(curves.axis, 'text', {x: 0, y}, 'step');
    const edits = image.parts.slice(1).map((part) => curveX(part.from - 0.5).toFixed(1));
    curves.edits.setAttribute('d', edits.map((x) => `M${x} ${HEAD}V${curves.height - FOOT}`).join(''));
  }

  function placeCurves() {
    if (!curves || !run) return;
    const marked = curveHover !== null ? curveHover : hover ? hover.column : cursor ? cursor.column : at;
    const column = clamp(marked, 0, run.stops.length - 1), stop = run.stops[column];
    const x = curveX(column).toFixed(1);
    curves.cursor.setAttribute('d', curves.charts.map(({y}) => `M${x} ${y[0]}V${y[1]}`).join(''));
    setText(ui['curves-at'], `at step ${stop.step}${stop.edited ? ', edited' : ''}`);
    for (const slot of curves.charts) {
      const {chart} = slot;
      if (chart.order) {
        setText(slot.read, written(column));
        continue;
      }
      const of = (name) => curves.data[name][column];
      if (chart.bars) setText(slot.read, chart.say(of(chart.bars)));
      else slot.says.forEach((node, i) => setText(node, `${chart.lines[i][2]}${chart.say(of(chart.lines[i][0]))}`));
      slot.dots.forEach((dot, i) => {
        const value = of(chart.lines[i][0]), known = Number.isFinite(value);
        dot.setAttribute('visibility', known ? 'visible' : 'hidden');
        if (!known) return;
        dot.setAttribute('cx', x);
        dot.setAttribute('cy', yOf(slot, value).toFixed(1));
      });
    }
  }

  function written(column) { // the positions that a step wrote, as many as fit
    const kept = image.marks[column].filter(({kind}) => kind !== 'remask');
    const cells = kept.map(({at: cell}) => CanvasModel.number(cell));
    if (!cells.length) return DASH;
    return cells.length > 6 ? `${cells.slice(0, 5).join(' ')} …` : cells.join(' ');
  }

  // ---------------------------------------------------------------- clashes of tokens committed together

  const SLOT = 76, LEAST_PLOT = 250, TOP = 24, BOTTOM = 150; // pixels: room for a bar, for all, and its ends

  function drawClashes() {
    const known = Boolean(run && run.clashes), plot = ui['clash-plot'];
    setHidden(ui.clashes, !known);
    if (!known) { plot.replaceChildren(); return; }
    const rows = S.clashCounts(run, share);
    plot.style.setProperty('--ddc-bars', `${Math.max(LEAST_PLOT, LEFT + SLOT * rows.length + RIGHT)}px`);
    const width = plot.clientWidth, height = plot.clientHeight;
    const part = run.clashes.steps < run.stops[run.stops.length - 1].step ? `up to step ${run.clashes.steps}` : '';
    setText(ui['clash-words'], part);
    const say = ({together, commits, clashing}) => `${together} together: ${clashing} of ${commits} clash`;
    const label = rows.length ? rows.map(say).join('; ') : 'No token was committed';
    setText(ui['clash-note'], S.clashNote(share));
    const svg = svgNode(null, 'svg', {viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': label});
    const slot = Math.min(SLOT, (width - LEFT - RIGHT) / Math.max(1, rows.length));
    const end = LEFT + slot * rows.length, every = S.tickEvery(rows.length, Math.floor((width - LEFT) / 26));
    svgNode(svg, 'text', {x: 0, y: 13, class: 'ddc-name'}, 'share of the commits that clash');
    for (const [y, words] of [[TOP, '1'], [BOTTOM, '0']]) {
      svgNode(svg, 'text', {x: LEFT - 6, y: y + 4, 'text-anchor': 'end'}, words);
      svgNode(svg, 'line', {x1: LEFT, x2: end, y1: y + 0.5, y2: y + 0.5, class: y === TOP ? 'ddc-grid' : 'ddc-base'});
    }
    rows.forEach((row, i) => {
      const x = LEFT + (i + 0.5) * slot, wide = Math.max(2, slot * 0.62), left = x - wide / 2;
      const high = ((BOTTOM - TOP) * row.clashing) / row.commits, room = slot >= 52;
      const bar = svgNode(svg, 'g', {});
      svgNode(bar, 'title', {}, `${say(row)}, in ${row.steps} step${row.steps === 1 ? '' : 's'}`);
      svgNode(bar, 'rect', {x: left, y: TOP, width: wide, height: BOTTOM - TOP, class: 'ddc-clash-rest'});
      svgNode(bar, 'rect', {x: left, y: BOTTOM - high, width: wide, height: high, class: 'ddc-clash-bar'});
      const words = `${row.clashing} of ${row.commits}`, above = Math.max(TOP + 14, BOTTOM - high - 5);
      if (room) svgNode(bar, 'text', {x, y: above, class: 'ddc-count', 'text-anchor': 'middle'}, words);
      if (i % every === 0) svgNode(svg, 'text', {x, y: BOTTOM + 16, 'text-anchor': 'middle'}, String(row.together));
    });
    svgNode(svg, 'text', {x: LEFT, y: BOTTOM + 34}, 'tokens committed together in a step');
    plot.replaceChildren(svg);
  }

  // ---------------------------------------------------------------- when to draw

  let dirty = {image: false, all: false}, scheduled = false;

  function schedule(what) {
    Object.assign(dirty, what);
    if (scheduled) return;
    scheduled = true;
    requestAnimationFrame(draw);
  }

  function draw() {
    scheduled = false;
    if (!ui.scroll.clientWidth) return; // in a tab that is not open; the size observer calls again
    const {image: changed, all} = dirty;
    dirty = {image: false, all: false};
    if (!colours) { readColours(); image = null; box = null; }
    if (!run) {
      image = box = null;
      const context = ui.canvas.getContext('2d');
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.clearRect(0, 0, ui.canvas.width, ui.canvas.height);
      ui.spacer.style.height = '0';
    } else if (changed || all || !image) {
      const from = updateImage();
      // The words beside the rows change with the newest step, so a strip alone would leave them behind.
      paint(all ? 0 : from);
      if (from && !all) repaintWords();
    }
    if (changed || all || !run) { drawCurves(); drawLegend(); drawClashes(); }
    place();
    placeCurves();
    drawLine();
  }

  function repaintWords() {
    const context = ui.canvas.getContext('2d');
    context.fillStyle = colours.surface;
    context.fillRect(0, 0, box.gutter - 2, box.plot);
    drawWords(context, box, ui.scroll.scrollTop);
  }

  function heard(event) {
    const detail = event.detail || {}, {shown = null, at: index = 0, pos: there = null} = detail;
    const next = shown && Array.isArray(shown.stops) && shown.stops.length ? shown : null;
    const other = !next || !run || next.stops[0] !== run.stops[0];
    if (other) { hover = cursor = null; curveHover = null; }
    const changed = next !== run;
    run = next;
    offerQuantities();
    at = index;
    pos = there;
    const moved = detail.share > 0 && detail.share !== share;
    if (moved) share = detail.share;
    if ((hover && !inside(hover)) || (cursor && !inside(cursor))) hover = cursor = null;
    schedule({image: changed || moved});
  }

  const inside = ({column, at: cell}) => run && column < run.stops.length && cell < run.stops[column].tokens.length;

  // ---------------------------------------------------------------- pointer and keys

  function cellAt(event) {
    if (!run || !box || !image) return null;
    const area = ui.scroll.getBoundingClientRect();
    const x = event.clientX - area.left - box.gutter, y = event.clientY - area.top;
    if (x < 0 || y < 0 || y >= box.plot) return null;
    const cell = {column: Math.floor(x / box.columnWidth), at: Math.floor((y + ui.scroll.scrollTop) / box.rowHeight)};
    return inside(cell) ? cell : null;
  }

  const say = (name, detail) => root.dispatchEvent(new CustomEvent(name, {detail}));

  let pointed = null;
  function point(cell) { // only where the position means the same token on the canvas
    const same = cell && image && run.stops[cell.column].part === run.stops[Math.min(at, run.stops.length - 1)].part;
    const next = same ? cell.at : null;
    if (next === pointed) return;
    pointed = next;
    say('ddemo:point', {run: run ? run.id : null, pos: next});
  }

  function goThere(cell, inspect = true) {
    const place = {run: run.id, step: run.stops[cell.column].step, at: cell.column};
    say('ddemo:goto', inspect ? {...place, pos: cell.at} : place);
  }

  function pointAt(event) {
    const cell = cellAt(event);
    if (hover && cell && hover.column === cell.column && hover.at === cell.at) return;
    if (!hover && !cell) return;
    hover = cell;
    if (cell) cursor = null; // the hand has taken over from the keys
    point(cell);
    schedule({});
  }

  let touched = {now: false, again: false};
  ui.scroll.addEventListener('pointermove', pointAt);
  ui.scroll.addEventListener('pointerdown', (event) => {
    const cell = cellAt(event), again = cell && hover && hover.column === cell.column && hover.at === cell.at;
    touched = {now: event.pointerType === 'touch', again: Boolean(again)};
    pointAt(event);
  });
  ui.scroll.addEventListener('pointerleave', (event) => {
    if (event.pointerType === 'touch') return; // what was tapped stays readable
    hover = null;
    point(null);
    schedule({});
  });
  ui.scroll.addEventListener('click', (event) => {
    const cell = cellAt(event);
    if (!cell) return;
    cursor = null;
    // A finger's first tap reads the cell and moves the player; the second opens the inspector, which on a
    // phone covers the charts.
    goThere(cell, !touched.now || touched.again);
  });
  ui.scroll.addEventListener('scroll', () => {
    if (run && image && box && colours) paint(0);
  }, {passive: true});

  function moveCursor(columns, rows) {
    const from = cursor || hover || {column: Math.min(at, run.stops.length - 1), at: pos === null ? 0 : pos};
    const column = clamp(from.column + columns, 0, run.stops.length - 1);
    cursor = {column, at: clamp(from.at + rows, 0, run.stops[column].tokens.length - 1)};
    hover = null;
    const top = cursor.at * box.rowHeight, scroll = ui.scroll;
    if (top < scroll.scrollTop) scroll.scrollTop = top;
    else if (top + box.rowHeight > scroll.scrollTop + box.plot) scroll.scrollTop = top + box.rowHeight - box.plot;
    point(cursor);
    const {where, state, value} = reading(cursor);
    setText(ui.announce, `${where.replace(' · ', ', ')}: ${state}, ${value}`);
    schedule({});
  }

  ui.scroll.addEventListener('keydown', (event) => {
    if (!run || !image || !box || event.ctrlKey || event.metaKey || event.altKey) return;
    const many = run.stops.length + image.rows;
    const enter = () => goThere(cursor || {column: Math.min(at, run.stops.length - 1), at: pos || 0});
    const action = {
      ArrowLeft: () => moveCursor(-1, 0), ArrowRight: () => moveCursor(1, 0),
      ArrowUp: () => moveCursor(0, -1), ArrowDown: () => moveCursor(0, 1),
      PageUp: () => moveCursor(0, -PAGE), PageDown: () => moveCursor(0, PAGE),
      Home: () => moveCursor(-many, 0), End: () => moveCursor(many, 0),
      Enter: enter, ' ': enter,
      Escape: () => { cursor = hover = null; point(null); schedule({}); },
    }[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
  ui.scroll.addEventListener('blur', () => {
    if (!cursor) return;
    cursor = null;
    point(null);
    schedule({});
  });

  function curveColumn(event) {
    if (!curves || !run) return null;
    const x = event.clientX - ui.plots.getBoundingClientRect().left - LEFT;
    const column = Math.floor((x / (curves.width - LEFT - RIGHT)) * curves.planned);
    return column >= 0 && column < run.stops.length ? column : null;
  }

  ui.plots.addEventListener('pointermove', (event) => { curveHover = curveColumn(event); schedule({}); });
  ui.plots.addEventListener('pointerleave', () => { curveHover = null; schedule({}); });
  ui.plots.addEventListener('click', (event) => {
    const column = curveColumn(event);
    if (column === null) return;
    curveHover = null;
    say('ddemo:goto', {run: run.id, step: run.stops[column].step, at: column});
  });

  ui.quantity.addEventListener('change', () => { quantity = ui.quantity.value; schedule({all: true}); });
  ui.rows.addEventListener('change', () => { ui.scroll.scrollTop = 0; schedule({all: true}); });
  ui.marks.addEventListener('change', () => schedule({all: true}));
  ui.exact.addEventListener('click', () => say('ddemo:look', {what: 'exact'}));
  root.addEventListener('ddemo:looking', whileMounted((event) => {
    const {what, on, text} = event.detail || {};
    if (what === 'exact') setText(ui.exact, on ? `Stop: ${text}` : 'Exact values');
  }));

  // ---------------------------------------------------------------- files to take away

  function save(name, blob) {
    const link = document.createElement('a');
    link.href = URL.createObjectURL(blob);
    link.download = `ddemo-${name}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  const saveText = (name, text, type) => save(name, new Blob([text], {type: `${type};charset=utf-8`}));

  // The whole heatmap, what is scrolled away included, under a title and above its scale.
  function mapPicture() {
    const above = 30, below = 34, scale = 2;
    const rowHeight = Math.max(box.rowHeight, 4), plot = rowHeight * image.rows, height = plot + AXIS;
    const whole = {...box, height, plot, rowHeight};
    const canvas = scratch(box.width * scale, Math.round((above + height + below) * scale));
    const context = canvas.getContext('2d');
    context.scale(scale, scale);
    context.fillStyle = colours.surface;
    context.fillRect(0, 0, box.width, above + height + below);
    context.save();
    context.translate(0, above);
    drawMap(context, whole, 0, 0);
    context.restore();
    context.font = `600 13px ${colours.sans}`;
    context.fillStyle = colours.ink;
    context.textAlign = 'left';
    context.textBaseline = 'middle';
    const name = S.QUANTITIES[quantity].title;
    context.fillText(fitted(context, `${name} · ${CanvasModel.headline(run)}`, box.width - 12), 6, 14);
    drawScale(context, box.gutter, above + height + 10);
    return canvas;
  }

  function drawScale(context, x, y) {
    const {ramp} = S.QUANTITIES[quantity], rank = quantity === 'rank';
    const words = [ui.low.textContent, ui.high.textContent, ui.unit.textContent];
    context.font = `12px ${colours.sans}`;
    context.fillStyle = colours.muted;
    context.fillText(words[0], x, y + 7);
    const gradient = context.createLinearGradient(x + 14, 0, x + 134, 0), stops = colours.stops(ramp);
    if (rank) stops.reverse();
    stops.forEach((colour, i) => gradient.addColorStop(i / (stops.length - 1), colour));
    context.fillStyle = gradient;
    context.fillRect(x + 14, y, 120, 13);
    context.fillStyle = colours.muted;
    context.fillText(`${words[1]} ${words[2]}`, x + 141, y + 7);
    if (ui['key-outside'].hidden) return;
    const far = x + 155 + context.measureText(`${words[1]} ${words[2]}`).width;
    context.fillStyle = colours.outside;
    context.fillRect(far, y, 18, 13);
    context.fillStyle = colours.muted;
    context.fillText(ui.outside.textContent, far + 24, y + 7);
  }

  // A drawing with every colour written out, so that it looks the same anywhere.
  function pictureOf(svg) {
    const copy = svg.cloneNode(true), from = [svg, ...svg.querySelectorAll('*')];
    const names = ['fill', 'stroke', 'stroke-width', 'stroke-dasharray', 'stroke-linecap', 'stroke-linejoin',
      'font-family', 'font-size', 'font-weight', 'visibility'];
    [copy, ...copy.querySelectorAll('*')].forEach((node, i) => {
      const style = getComputedStyle(from[i]);
      node.removeAttribute('class');
      for (const name of names) node.setAttribute(name, style.getPropertyValue(name));
    });
    const {width, height} = svg.viewBox.baseVal;
    copy.setAttribute('xmlns', SVG);
    copy.setAttribute('width', width);
    copy.setAttribute('height', height);
    const paper = svgNode(null, 'rect', {x: 0, y: 0, width, height, fill: colours.surface});
    copy.prepend(svgNode(null, 'title', {}, CanvasModel.headline(run)), paper);
    return new XMLSerializer().serializeToString(copy);
  }

  function savePng(name, svg) {
    const picture = new Image(), scale = 2, {width, height} = svg.viewBox.baseVal;
    picture.onload = () => {
      const canvas = scratch(width * scale, height * scale);
      canvas.getContext('2d').drawImage(picture, 0, 0, canvas.width, canvas.height);
      canvas.toBlob((blob) => save(name, blob));
    };
    picture.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(pictureOf(svg))}`;
  }

  ui['map-png'].addEventListener('click', () => mapPicture().toBlob((blob) => save(`${quantity}.png`, blob)));
  ui['map-csv'].addEventListener('click', () => saveText(`${quantity}.csv`, S.matrixCsv(run, quantity), 'text/csv'));
  const drawings = {curves: () => curves.svg, clash: () => ui['clash-plot'].firstChild};
  const tables = {curves: () => S.curvesCsv(run, share), clash: () => S.clashCsv(run, share)};
  for (const [name, title] of [['curves', 'curves'], ['clash', 'clashes']]) {
    const on = (kind, act) => ui[`${name}-${kind}`].addEventListener('click', act);
    on('svg', () => saveText(`${title}.svg`, pictureOf(drawings[name]()), 'image/svg+xml'));
    on('png', () => savePng(`${title}.png`, drawings[name]()));
    on('csv', () => saveText(`${title}.csv`, tables[name](), 'text/csv'));
  }

  // ---------------------------------------------------------------- the page around

  // Gradio may throw the block away and make another; what listens outside it must then stop.
  function whileMounted(listener) {
    return function listen(event) {
      if (element.isConnected) listener(event);
      else event.currentTarget.removeEventListener(event.type, listen);
    };
  }

  const onTheme = () => {
    if (!element.isConnected) { themes.disconnect(); return; }
    colours = null;
    schedule({all: true});
  };
  const themes = new MutationObserver(onTheme);
  for (const node of [document.documentElement, document.body]) {
    themes.observe(node, {attributes: true, attributeFilter: ['class']});
  }
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', onTheme);
  new ResizeObserver(() => schedule({all: true})).observe(ui.frame);
  root.addEventListener('ddemo:shown', whileMounted(heard));
  drawLegend();
  schedule({all: true});
  say('ddemo:ask', {});
}
