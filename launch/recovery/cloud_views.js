// Two clouds of a map side by side, as given and as recovered, that turn together.
//
// cloudViews.element(path) makes the place of both.  The clouds are loaded from the script `path`
// (train3d_jax.export.browser_clouds) when they are scrolled to, and dropped when they are far
// away, so that a page can have any number.  They are drawn in a 2D canvas: 50,000 points take a
// few milliseconds, and a browser keeps no more than some sixteen contexts of WebGL.
const cloudViews = (() => {
  const START = {yaw: 25 * Math.PI / 180, pitch: 15 * Math.PI / 180, zoom: 1, right: 0, down: 0};
  const HALF_VIEW = 22.5 * Math.PI / 180, PAPER = [255, 255, 255], MOST_PIXELS = 8, NEAREST = .05;
  // A row that is scrolled past quickly is not loaded; milliseconds.
  const PATIENCE = 150;
  const HELP = "drag: turn; shift and drag: move; click, then wheel: zoom";

  const packed = (red, green, blue) => (255 << 24 | blue << 16 | green << 8 | red) >>> 0;

  // Of an address, the name that it stands for; names need not be text.
  function readable(path) {
    try {
      return decodeURIComponent(path);
    } catch {
      return path;
    }
  }

  function decoded(text, Numbers) {
    const letters = atob(text), bytes = new Uint8Array(letters.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = letters.charCodeAt(i);
    return new Numbers(bytes.buffer);
  }

  // Points in units of the cloud's radius about its centre, in camera axes.
  function cloudOf(data, part) {
    const pixels = decoded(data.pixels, Uint32Array), depth = decoded(part.depth, Uint16Array);
    const paint = decoded(data.colours, Uint8Array), [width, height] = data.size;
    const [fx, fy, cx, cy] = part.camera, {centre, radius} = part;
    const points = [], colours = [], sizes = [];
    const place = (u, v, z) =>
      [((u - cx) / fx * z - centre[0]) / radius, ((v - cy) / fy * z - centre[1]) / radius,
        (z - centre[2]) / radius];
    for (let i = 0; i < pixels.length; i++) {
      if (!depth[i]) continue;  // missing
      const z = Math.exp(part.low + part.step * (depth[i] - 1));
      points.push(...place(pixels[i] % width, Math.floor(pixels[i] / width), z));
      colours.push(packed(paint[3 * i], paint[3 * i + 1], paint[3 * i + 2]));
      // Of the surface that a point stands for; points at random have gaps of twice that.
      sizes.push(2 * data.spacing * z / fx / radius);
    }
    const eye = place(cx, cy, 0), ahead = .25 * radius;
    const corners = [[-.5, -.5], [width - .5, -.5], [width - .5, height - .5], [-.5, height - .5]]
      .map(([u, v]) => place(u, v, ahead));
    const axes = ["#d03030", "#208020", "#3050d0"].map((colour, axis) =>
      [eye, eye.map((value, i) => value + (i === axis ? .15 : 0)), colour]);
    const frustum = corners.flatMap((corner, i) =>
      [[eye, corner, "#808080"], [corner, corners[(i + 1) % 4], "#808080"]]);
    return {
      points: new Float32Array(points), colours: new Uint32Array(colours),
      sizes: new Float32Array(sizes), lines: [...frustum, ...axes],
      title: `${(2 * Math.atan(width / 2 / fx) * 180 / Math.PI).toFixed(1)}\u00b0 wide`,
    };
  }

  function draw(canvas, cloud, view) {
    const sharp = Math.min(window.devicePixelRatio || 1, 2);
    const width = canvas.width = Math.max(1, Math.round(canvas.clientWidth * sharp));
    const height = canvas.height = Math.max(1, Math.round(canvas.clientHeight * sharp));
    const context = canvas.getContext("2d"), image = context.createImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer).fill(packed(...PAPER));
    const nearest = new Float32Array(width * height).fill(Infinity);
    const focal = Math.min(width, height) / 2 / Math.tan(HALF_VIEW);
    const distance = .75 * view.zoom / Math.sin(HALF_VIEW), most = MOST_PIXELS * sharp;
    const [c, s, ct, st] =
      [Math.cos(view.yaw), Math.sin(view.yaw), Math.cos(view.pitch), Math.sin(view.pitch)];
    const {points, colours, sizes} = cloud;
    for (let i = 0; i < colours.length; i++) {
      const x = points[3 * i], y = points[3 * i + 1], z = points[3 * i + 2];
      const back = s * x + c * z, far = st * y + ct * back + distance;
      if (far < NEAREST) continue;
      const scale = focal / far, size = Math.min(Math.max(Math.ceil(sizes[i] * scale), 1), most);
      const left = Math.round((c * x - s * z + view.right) * scale + (width - size) / 2);
      const top = Math.round((ct * y - st * back + view.down) * scale + (height - size) / 2);
      const right = Math.min(left + size, width), bottom = Math.min(top + size, height);
      for (let row = Math.max(top, 0); row < bottom; row++)
        for (let at = row * width + Math.max(left, 0); at < row * width + right; at++)
          if (far < nearest[at]) {
            nearest[at] = far;
            pixels[at] = colours[i];
          }
    }
    context.putImageData(image, 0, 0);
    const seen = ([x, y, z]) => {
      const back = s * x + c * z, far = st * y + ct * back + distance;
      return [(c * x - s * z + view.right) * focal / far + width / 2,
        (ct * y - st * back + view.down) * focal / far + height / 2, far];
    };
    context.lineWidth = 1.2 * sharp;
    for (const [from, to, colour] of cloud.lines) {
      const [a, b] = [seen(from), seen(to)];
      if (Math.min(a[2], b[2]) < NEAREST) continue;
      context.strokeStyle = colour;
      context.beginPath();
      context.moveTo(a[0], a[1]);
      context.lineTo(b[0], b[1]);
      context.stroke();
    }
  }

  function made(tag, kind, parent) {
    const element = document.createElement(tag);
    element.className = kind;
    if (parent) parent.append(element);
    return element;
  }

  class Views {
    constructor(path) {
      this.path = path;
      this.view = {...START};
      this.clouds = null;
      this.element = made("div", "views");
      this.canvases = [];
      this.titles = [];
      for (const name of ["given", "recovered"]) {
        const figure = made("figure", "", this.element), canvas = made("canvas", "", figure);
        canvas.tabIndex = 0;
        canvas.title = HELP;
        canvas.setAttribute("role", "img");
        canvas.setAttribute("aria-label", `the cloud as ${name}`);
        canvas.width = canvas.height = 0;
        this.canvases.push(canvas);
        this.titles.push(made("figcaption", "", figure));
        this.listen(canvas);
      }
      this.say("");
      const buttons = made("p", "", this.element);
      const button = (text, action) => {
        const pressed = made("button", "", buttons);
        pressed.textContent = text;
        pressed.onclick = action;
        return pressed;
      };
      button("reset", () => this.reset());
      this.size = button("larger", () => this.enlarge(this.size.textContent === "larger"));
      this.message = made("span", "message", buttons);
      this.element.cloudViews = this;  // for the observer
    }

    say(text) {
      ["given", "recovered"].forEach((name, i) => {
        this.titles[i].textContent = this.clouds ? `${name}: ${this.clouds[i].title}` : name;
      });
      if (this.message) this.message.textContent = text;
    }

    // Scrolled to, or away.
    near(is) {
      clearTimeout(this.timer);
      if (is) this.timer = setTimeout(() => this.load(), PATIENCE);
      else this.release();
    }

    load() {
      if (this.script) return;
      const script = this.script = document.createElement("script");
      const missing = () => {
        if (this.script === script && !this.clouds)
          this.say(`no clouds: ${readable(this.path)} is missing or damaged`);
      };
      // The script calls this; a page of file:// may run other files and not read them.
      script.receive = data => {
        if (this.script !== script) return;
        this.clouds = data.clouds.map(part => cloudOf(data, part));
        const empty = this.clouds.every(cloud => !cloud.colours.length);
        this.say(empty ? "no point is at a depth above 0" : "");
        this.redraw();
      };
      script.onload = script.onerror = missing;
      script.src = this.path;
      document.head.append(script);
    }

    release() {
      if (this.script) this.script.remove();
      this.script = this.clouds = null;
      for (const canvas of this.canvases) canvas.width = canvas.height = 0;
    }

    redraw() {
      if (this.waiting) return;
      this.waiting = requestAnimationFrame(() => {
        this.waiting = 0;
        if (this.clouds) this.canvases.forEach((canvas, i) => draw(canvas, this.clouds[i], this.view));
      });
    }

    // Over the whole window, or in the row.
    enlarge(is) {
      this.element.classList.toggle("large", is);
      this.size.textContent = is ? "smaller" : "larger";
      this.redraw();
    }

    reset() {
      this.view = {...START};
      this.redraw();
    }

    turn(yaw, pitch) {
      this.view.yaw += yaw;
      this.view.pitch = Math.min(Math.max(this.view.pitch + pitch, -Math.PI / 2), Math.PI / 2);
      this.redraw();
    }

    zoom(factor) {
      this.view.zoom = Math.min(Math.max(this.view.zoom * factor, .02), 20);
      this.redraw();
    }

    move(right, down, canvas) {
      // As far as the centre of the cloud moves under the pointer.
      const scale = 1.5 * this.view.zoom / Math.min(canvas.clientWidth, canvas.clientHeight);
      this.view.right += right * scale;
      this.view.down += down * scale;
      this.redraw();
    }

    listen(canvas) {
      const fingers = new Map();
      const apart = () => {
        const [a, b] = [...fingers.values()];
        return Math.hypot(a[0] - b[0], a[1] - b[1]) || 1;
      };
      canvas.onpointerdown = event => {
        canvas.setPointerCapture(event.pointerId);
        fingers.set(event.pointerId, [event.clientX, event.clientY]);
      };
      canvas.onpointermove = event => {
        const old = fingers.get(event.pointerId);
        if (!old) return;
        const [right, down] = [event.clientX - old[0], event.clientY - old[1]];
        const before = fingers.size === 2 ? apart() : 0;
        fingers.set(event.pointerId, [event.clientX, event.clientY]);
        if (before) {
          this.zoom(before / apart());
          this.move(right / 2, down / 2, canvas);
        } else if (event.shiftKey || event.buttons & 6) this.move(right, down, canvas);
        else this.turn(.01 * right, .01 * down);
      };
      canvas.onpointerup = canvas.onpointercancel = event => fingers.delete(event.pointerId);
      canvas.oncontextmenu = event => event.preventDefault();
      canvas.ondblclick = () => this.reset();
      // The wheel scrolls the page, until a view was clicked; pinched touchpads send ctrl.
      canvas.addEventListener("wheel", event => {
        if (document.activeElement !== canvas && !event.ctrlKey) return;
        event.preventDefault();
        this.zoom(Math.exp(.0015 * event.deltaY));
      }, {passive: false});
      canvas.onkeydown = event => {
        const action = {
          ArrowLeft: () => this.turn(-.1, 0), ArrowRight: () => this.turn(.1, 0),
          ArrowUp: () => this.turn(0, -.1), ArrowDown: () => this.turn(0, .1),
          "+": () => this.zoom(.8), "-": () => this.zoom(1.25), 0: () => this.reset(),
          Escape: () => this.enlarge(false),
        }[event.key];
        if (!action) return;
        event.preventDefault();
        action();
      };
    }
  }

  const observer = new IntersectionObserver(entries => {
    for (const entry of entries) entry.target.cloudViews.near(entry.isIntersecting);
  }, {rootMargin: "300px"});
  const shown = new Set();
  return {
    element(path) {
      const views = new Views(path);
      shown.add(views);
      observer.observe(views.element);
      return views.element;
    },
    clear() {
      observer.disconnect();
      for (const views of shown) views.near(false);
      shown.clear();
    },
  };
})();
