for (const form of document.querySelectorAll("form[data-path]")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const shown = form.querySelector("pre");
    shown.hidden = false;
    shown.textContent = "…";
    const headers = { "Content-Type": "application/json", Authorization: "Bearer " + document.getElementById("key").value };
    if ("idempotent" in form.dataset) headers["Idempotency-Key"] = "docs-" + Array.from(
      crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
    try {
      const path = form.dataset.path.replace(/{(\w+)}/g, (_, name) => encodeURIComponent(form.elements[name].value));
      const answer = await fetch(path, { method: "POST", headers, body: form.querySelector("textarea").value });
      const text = await answer.text();
      let told = text;
      try { told = JSON.stringify(JSON.parse(text), null, 2); } catch { /* shown as it came */ }
      shown.textContent = answer.status + " " + answer.statusText + "\n" + told;
    } catch (error) {
      shown.textContent = String(error);
    }
  });
}
