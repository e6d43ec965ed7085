"use strict";
// The standings: sorted and filtered by DataTables, which finds the numbers in data-order.
document.addEventListener("DOMContentLoaded", () => {
  const table = document.getElementById("models");
  if (!table || !window.DataTable) return;
  const frame = table.parentElement;
  const kinds = [...table.querySelectorAll("thead th")].map((heading, at) => ({
    targets: at,
    type: heading.dataset.kind === "text" ? "string" : "num",
    orderSequence: heading.dataset.first === "desc" ? ["desc", "asc"] : ["asc", "desc"],
  }));
  new window.DataTable(table, {
    paging: false,
    autoWidth: false,
    order: [],
    columnDefs: kinds,
    layout: { topStart: "search", topEnd: "info", bottomStart: null, bottomEnd: null },
    language: {
      search: "Filter",
      info: "_TOTAL_ rows",
      infoEmpty: "no row fits",
      infoFiltered: "of _MAX_",
      zeroRecords: "No row fits the filter.",
    },
  });
  // The filter stays in view while the table moves in its frame.
  const tools = frame.querySelector(".dt-layout-row");
  if (tools) frame.before(tools);
});
