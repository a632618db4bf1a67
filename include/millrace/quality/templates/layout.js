(() => {
  const moment = document.getElementById("moment"), notice = document.getElementById("stale");
  const tell = () => {
    const minutes = Math.max(0, Math.floor((Date.now() - Date.parse(moment.dateTime)) / 60000));
    const [many, unit] = minutes < 120 ? [minutes, "minute"] : minutes < 2880 ? [Math.floor(minutes / 60), "hour"] : [Math.floor(minutes / 1440), "day"];
    document.getElementById("age").textContent = minutes < 1 ? ", less than a minute ago" : `, ${many} ${unit}${many === 1 ? "" : "s"} ago`;
    if (notice) notice.hidden = minutes < Number(notice.dataset.after);
  };
  if (!moment) return; // a page that says only that another is not there
  tell();
  setInterval(tell, 10000);
  // A newer page is fetched unless somebody is reading this one with keyboard or selection.
  if (notice) setInterval(() => { if (document.activeElement === document.body && !String(getSelection())) location.reload(); }, 60000);
})();
